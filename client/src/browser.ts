// What only browsers have: other tabs, and pages that are hidden, frozen, left and come back to. A file of its own,
// since a server or a tool needs none of it.

export { watchPage } from "./page.ts";
export { share, type Sharing } from "./tabs.ts";
