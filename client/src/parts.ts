// The parts of the client that are files of their own, because not every page needs them.
//
// This is how they are found where a bundler or a runtime knows how: in the npm package, and from these sources. What
// the gateway serves has parts.served.ts in its place (build.mjs). Each loads a part, or rejects when it can't be had;
// `gateway` is where to look if it is not clear where the client came from.

/** For networks that have something against WebSockets. */
export const networks = (_gateway: string) => import("./networks.ts");
/** For what only browsers have. */
export const browser = (_gateway: string) => import("./browser.ts");
/** For elements that show a log, or markup of their page. */
export const views = (_gateway: string) => import("./elements/views.ts");
