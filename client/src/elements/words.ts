// What the elements say, and in which language. Numbers and times are the browser's (Intl); the words are English until
// a page gives others.

/** Words by their names; `{0}` and `{1}` stand for what is put in. */
export type Words = Record<string, string>;

// A status that is not here is said by its own name: TIMED_OUT is `Timed out`.
const ENGLISH: Words = {
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
  unknown: "No such run yet",
  of: "{0} of {1}",
  attempt: "attempt {0}",
  retry: "Trying again",
  finish: "Finish",
  // Whether what is shown can be believed.
  connecting: "Connecting…",
  stale: "May be out of date",
  offline: "Not connected",
  denied: "Access denied",
  asOf: "as of {0}",
  // Names of things.
  status: "Status",
  run: "Run",
  runs: "Runs",
  progress: "Progress",
  since: "Since",
  log: "Log",
  lost: "What came before is not shown",
};

/** Says things in one language. */
export class Voice {
  readonly #lang: string | undefined;
  readonly #numbers: Record<string, Intl.NumberFormat> = {};
  readonly #ago: Intl.RelativeTimeFormat;

  /** @param lang a language tag, or whatever a page has in its place @param words that come before the English ones */
  constructor(
    readonly lang: string,
    readonly words: Words,
  ) {
    try {
      this.#lang = Intl.getCanonicalLocales(lang)[0];
    } catch {
      // then it is the browser's own
    }
    this.#ago = new Intl.RelativeTimeFormat(this.#lang, { numeric: "auto" });
  }

  say(word: string, ...values: (string | number)[]): string {
    const text = this.words[word] ?? ENGLISH[word] ?? word.charAt(0) + word.slice(1).toLowerCase().replace("_", " ");
    return text.replace(/{(\d)}/g, (_, i) => {
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
    const seconds = Math.max(0, now - then) / 1000;
    const [unit, length]: [Intl.RelativeTimeFormatUnit, number] =
      seconds < 60
        ? ["second", 1]
        : seconds < 3600
          ? ["minute", 60]
          : seconds < 86400
            ? ["hour", 3600]
            : ["day", 86400];
    return this.#ago.format(-Math.floor(seconds / length), unit);
  }

  /** A moment as the clock on this wall shows it. */
  clock(moment: number): string {
    return new Date(moment).toLocaleTimeString(this.#lang);
  }

  /** How long something took: `0.3s`, `3m 4s`, `2h 5m`, in the letters of the language. */
  span(milliseconds: number): string {
    const seconds = Math.max(0, milliseconds) / 1000;
    const pair = (unit: string, more: string, length: number): string =>
      `${this.number(Math.floor(seconds / length / 60), unit)} ${this.number(Math.floor(seconds / length) % 60, more)}`;
    if (seconds < 60) return this.number(seconds < 10 ? Math.floor(seconds * 10) / 10 : Math.floor(seconds), "second");
    return seconds < 3600 ? pair("minute", "second", 1) : pair("hour", "minute", 60);
  }
}
