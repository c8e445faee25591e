// As consumer.ts, in a page that shows elements.

import { RunList, RunStatus } from "@runcast/client/elements";

const bar = document.querySelector<RunStatus>("run-status")!;
bar.getToken = async () => "…";
bar.addEventListener("run-end", () => bar.refresh());
const list: HTMLElement = new RunList();
document.body.append(list, document.createElement("run-status"));
