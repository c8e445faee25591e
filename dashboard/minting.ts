/** A token for one run, for somebody who has no key: what it can be used for is beside it. */

import { request } from "./api.ts";
import { runPath } from "./address.ts";
import { copyable } from "./copying.ts";
import { element, setText } from "./dom.ts";
import { GATEWAY } from "./root.ts";
import { clockTime, shellWord } from "./words.ts";

const LIFETIMES: readonly (readonly [string, string])[] = [
  ["15m", "15 minutes"],
  ["1h", "1 hour"],
  ["24h", "1 day"],
  ["30d", "30 days"],
];

interface Minted {
  token: string;
  expiresAt: string;
}

/** A form that mints, and under it what came of it. Only a secret key can. */
export function mintingForm(credential: string, run: string): HTMLElement {
  const lifetime = element(
    "select",
    { name: "lifetime", "aria-label": "how long it is good" },
    ...LIFETIMES.map(([value, words]) => element("option", { value }, words)),
  );
  const button = element("button", { type: "submit" }, "Mint a token");
  const outcome = element("div", { class: "minted", role: "status" });
  const mint = async (event: Event): Promise<void> => {
    event.preventDefault();
    button.disabled = true;
    try {
      const body = { scopes: [`read:runs:${run}`], expirationTime: lifetime.value };
      outcome.replaceChildren(...shown(run, await request<Minted>(credential, "/v1/tokens", { body })));
    } catch (error) {
      const problem = element("p", { class: "problem" });
      setText(problem, error instanceof Error ? error.message : String(error));
      outcome.replaceChildren(problem);
    } finally {
      button.disabled = false;
    }
  };
  return element(
    "form",
    { class: "minting", onsubmit: (event: Event) => void mint(event) },
    element("p", { class: "quiet" }, "Reads this run and its streams, and nothing else."),
    element("p", {}, lifetime, " ", button),
    outcome,
  );
}

function shown(run: string, { token, expiresAt }: Minted): HTMLElement[] {
  const embed = `${GATEWAY}/embed/runs/${encodeURIComponent(run)}#token=${token}`;
  const uses: [string, string][] = [
    ["Token", token],
    ["Link to this page", `${location.origin}${runPath(run)}#token=${token}`],
    ["For an iframe", embed],
    ["In a terminal", `RUNCAST_TOKEN=${token} ${watchCommand(run)}`],
  ];
  return [
    element("p", { class: "quiet" }, `Good until ${clockTime(expiresAt)}. It is kept nowhere: copy it now.`),
    element(
      "dl",
      { class: "facts" },
      ...uses.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, copyable(text))]),
    ),
  ];
}

/** What shows this run in a terminal (docs/command-line.md). */
export function watchCommand(run: string): string {
  const from = `--url ${shellWord(GATEWAY)}`;
  // What begins as an option does is none after two dashes.
  return run.startsWith("-") ? `runcast watch ${from} -- ${shellWord(run)}` : `runcast watch ${shellWord(run)} ${from}`;
}

/** What shows a batch in a terminal. */
export function watchBatchCommand(batch: string): string {
  return `runcast watch --batch=${shellWord(batch)} --url ${shellWord(GATEWAY)}`;
}
