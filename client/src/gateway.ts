// Where this script came from.

/** Whether it is a plain script, which knows less of itself than a module does; and one with elements. Of build.mjs. */
declare const IS_SCRIPT: boolean;
declare const HAS_ELEMENTS: boolean;

/** A page may import a plain script of elements as if it were a module: then nobody says where it came from. */
const imported = () => (HAS_ELEMENTS ? globalThis.document?.querySelector('script[src*="/run-"]') : null);
const tag = () => (globalThis.document?.currentScript ?? imported()) as HTMLScriptElement | null | undefined;

/** The gateway that it came from, perhaps behind a path; none if it is part of another script. */
export const GATEWAY = /^(http.*?)(\/_\/v1)?\/run(cast|-status|-list)[^/]*\.js$/.exec(
  (IS_SCRIPT ? tag()?.src : import.meta.url)!,
)?.[1];
