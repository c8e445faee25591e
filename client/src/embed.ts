// The page for iframes (gateway/web/embed.py): shows one run, and tells the page around it how high it is and how the run goes.
//
// It may be in a sandboxed frame, without an origin: so it stores nothing, and all that it is given comes in its address or in messages of
// the page around it. What it says goes to one origin, and what it hears must come from there.

import { percentOf } from "./elements/progress.ts";
import type { Run } from "./index.ts";

/** What the page around us may hear. Nothing here is secret to who may see the run, but it is for nobody else. */
type Said =
  | { type: "runcast:height"; run: string; height: number }
  | { type: "runcast:status"; run: string; status: string; percent: number | null }
  | { type: "runcast:connection"; run: string; state: string; asOf: string | null }
  | { type: "runcast:token"; run: string };

interface RunStatusElement extends HTMLElement {
  getToken: (() => Promise<string>) | null;
}

/** How long the page around us may take to find another token. */
const PATIENCE_MILLISECONDS = 20_000;
const ANYBODY = "*";

const place = document.querySelector("main") as HTMLElement;
const run = place.dataset["run"] ?? "";
const around = window.parent === window ? null : originAround();

let given = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
let waiting: ((token: string) => void) | null = null;

/**
 * The origin of the page around us: what `?origin=` says, or what the browser does. Without one nothing is said or heard.
 * A wrong `?origin=` does no harm: the browser then keeps what we say to itself.
 */
function originAround(): string | null {
  const asked = new URLSearchParams(location.search).get("origin");
  if (asked === ANYBODY) return ANYBODY;
  const known = asked ?? location.ancestorOrigins?.[0] ?? document.referrer;
  try {
    const { origin } = new URL(known);
    return origin === "null" ? null : origin;
  } catch {
    return null;
  }
}

function say(said: Said): void {
  if (around) window.parent.postMessage(said, around);
}

/** Say it when it is not what was said last. */
function teller(): (said: Said) => void {
  let last = "";
  return (said) => {
    const text = JSON.stringify(said);
    if (text !== last) say(said);
    last = text;
  };
}

/** The first token is in the fragment; others come from the page around us, when it has some. */
function getToken(): Promise<string> {
  if (given) {
    const token = given;
    given = "";
    return Promise.resolve(token);
  }
  return new Promise((resolve, reject) => {
    const tooLate = setTimeout(
      () => {
        waiting = null;
        reject(Object.assign(new Error("no other token came"), { status: 401 }));
      },
      around ? PATIENCE_MILLISECONDS : 0,
    );
    waiting = (token) => {
      clearTimeout(tooLate);
      waiting = null;
      resolve(token);
    };
    say({ type: "runcast:token", run });
  });
}

/** Another token: for whoever waits for one, or for the next who asks. */
function take(token: string): void {
  if (waiting) waiting(token);
  else given = token;
}

addEventListener("message", ({ source, origin, data }: MessageEvent<unknown>) => {
  if (source !== window.parent || !around || (around !== ANYBODY && origin !== around)) return;
  const { type, token } = (data ?? {}) as { type?: unknown; token?: unknown };
  if (type === "runcast:token" && typeof token === "string" && token) take(token);
});

// Whoever can't send messages may change the fragment: the page is not loaded again by that.
addEventListener("hashchange", () => {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) take(token);
});

const element = document.createElement("run-status") as RunStatusElement;
element.getToken = getToken;
for (const name of ["run", "variant"]) element.setAttribute(name, place.dataset[name] ?? "");
// The gateway's own address, also when it stands under a path.
element.setAttribute("src", new URL(place.dataset["src"] || "/", location.href).href);

const [tellStatus, tellConnection, tellHeight] = [teller(), teller(), teller()];

element.addEventListener("run-update", (event) => {
  const { run: shown } = (event as CustomEvent<{ run: Run | null }>).detail;
  if (!shown) return;
  tellStatus({ type: "runcast:status", run, status: shown.status, percent: percentOf(shown) });
});

element.addEventListener("run-connection", (event) => {
  const { state, asOf } = (event as CustomEvent<{ state: string; asOf: Date | null }>).detail;
  tellConnection({ type: "runcast:connection", run, state, asOf: asOf?.toISOString() ?? null });
});

// A page may have several of us, and whoever goes from one to the next must tell them apart.
place.ariaLabel = run;
place.append(element);
new ResizeObserver(() => {
  tellHeight({ type: "runcast:height", run, height: Math.ceil(place.getBoundingClientRect().height) });
}).observe(place);
