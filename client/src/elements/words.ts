// What the elements say, and in which language. Numbers and times are the browser's (Intl); the words are English until
// a page gives others.

/**
 * Words by their names. `{0}` and `{1}` stand for what is put in; a function is given that, for languages in which it is
 * not said so simply.
 */
export type Words = Record<string, string | ((...values: never[]) => string)>;

// What is not here is said by its own name: TIMED_OUT is `Timed out`.
const ENGLISH: Record<string, string> = {
  PENDING_VERSION: "Waiting for a version",
  DEQUEUED: "Starting",
  EXECUTING: "Running",
  // Of several runs: how many there are of a kind, and of all.
  waiting: "{0} waiting",
  working: "{0} running",
  ok: "{0} completed",
  bad: "{0} failed",
  stopped: "{0} canceled",
  finished: "{0} of {1} finished",
  newest: "the newest {0}",
  none: "No runs yet",
  // Of one.
  unknown: "No such run",
  of: "{0} of {1}",
  attempt: "attempt {0}",
  retry: "Trying again",
  // Whether what is shown can be believed.
  connecting: "Connecting…",
  stale: "May be out of date",
  offline: "Not connected",
  denied: "Access denied",
  asOf: "as of {0}",
  // Of a log whose beginning is gone.
  lost: "What came before is not shown",
};

/** Units of time, and how many seconds they are. */
const UNITS = [
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
] as const;
type Unit = (typeof UNITS)[number];

/** Says things in one language. */
export class Voice {
  readonly #lang: string | undefined;
  readonly #numbers: Record<string, Intl.NumberFormat> = {};
  readonly #ago: Intl.RelativeTimeFormat;

  readonly #words: Words;

  /** @param lang a language tag, or whatever a page has in its place @param words that come before the English ones */
  constructor(lang: string, words: Words) {
    this.#words = words;
    try {
      this.#lang = Intl.getCanonicalLocales(lang)[0];
    } catch {
      // then it is the browser's own
    }
    this.#ago = new Intl.RelativeTimeFormat(this.#lang, { numeric: "auto" });
  }

  say(word: string, ...values: (string | number)[]): string {
    const text =
      this.#words[word] ??
      ENGLISH[word] ??
      word.charAt(0).toUpperCase() + word.slice(1).toLowerCase().replace("_", " ");
    const said = typeof text === "function" ? text(...(values as never[])) : text;
    return said.replace(/{(\d)}/g, (_, i) => {
      const value = values[i] ?? "";
      return typeof value === "number" ? this.number(value) : value;
    });
  }

  /** @param unit as Intl names it: `percent`, `second` */
  number(value: number, unit = ""): string {
    this.#numbers[unit] ??= new Intl.NumberFormat(this.#lang, {
      maximumFractionDigits: 2,
      ...(unit && { style: "unit", unit, unitDisplay: "narrow" }),
    });
    return this.#numbers[unit].format(value);
  }

  /** `3 minutes ago`, from two times in milliseconds. Another clock may be ahead of ours; nothing is from the future. */
  ago(then: number, now: number): string {
    const [seconds, [unit, length]] = timed(now - then);
    return this.#ago.format(-Math.floor(seconds / length), unit);
  }

  /** A moment as the clock on this wall shows it. */
  clock(moment: number): string {
    return new Date(moment).toLocaleTimeString(this.#lang);
  }

  /** How long something took: `0.3s`, `3m 4s`, `2h 5m`, in the letters of the language. */
  span(milliseconds: number): string {
    const [seconds, [unit, length], next] = timed(milliseconds);
    const whole = this.number(seconds < 10 ? Math.floor(seconds * 10) / 10 : Math.floor(seconds / length), unit);
    return next ? `${whole} ${this.number(Math.floor((seconds % length) / next[1]), next[0])}` : whole;
  }
}

/** How many seconds, in which unit that is said, and the unit below. */
function timed(milliseconds: number): [number, Unit, Unit | undefined] {
  const seconds = Math.max(0, milliseconds) / 1000;
  const place = UNITS.findIndex(([, length]) => seconds >= length || length === 1);
  return [seconds, UNITS[place] as Unit, UNITS[place + 1]];
}
