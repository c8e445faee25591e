/** The path that the gateway stands under, behind a proxy that gives it only a part of a site; mostly empty. */
export const ROOT = document.documentElement.dataset["root"] ?? "";

/** Where the gateway is, for whoever is told so. */
export const GATEWAY = location.origin + ROOT;
