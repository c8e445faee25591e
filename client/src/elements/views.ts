// What few elements show: a log, or a page's own markup. A part of its own (parts.ts).

export { LogView } from "./log.ts";
export { Markup } from "./template.ts";
