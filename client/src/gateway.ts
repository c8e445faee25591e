// Where this script came from.

/** Whether it is a plain script, which knows less of itself than a module does; put in by build.mjs. */
declare const IS_SCRIPT: boolean;

const address = IS_SCRIPT ? (globalThis.document?.currentScript as HTMLScriptElement | null)?.src : import.meta.url;

/** The gateway that it came from, perhaps behind a path; none if it is part of another script. */
export const GATEWAY = /^(http.*?)(\/_\/v1)?\/run(cast|-status|-list)[^/]*\.js$/.exec(address!)?.[1];
