// Where this script came from.

/** Whether it is a plain script, which knows less of itself than a module does; put in by build.mjs. */
declare const IS_SCRIPT: boolean;

const addresses = () => [
  (globalThis.document?.currentScript as HTMLScriptElement | null)?.src,
  ...[...(globalThis.document?.scripts ?? [])].map(({ src }) => src),
];

/** The gateway that it came from, perhaps behind a path; none if it is part of another script. */
export const GATEWAY = (IS_SCRIPT ? addresses() : [import.meta.url])
  .map((address) => /^(http.*?)(\/_\/v1)?\/run(cast|-status|-list)[^/]*\.js$/.exec(address!)?.[1])
  .find((gateway) => gateway);
