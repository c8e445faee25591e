/** A small chart of bars, two colours on top of each other. It has the same numbers as text for whoever can't see it. */

import { drawn, setAttribute } from "./dom.ts";
import { BINS, type Bin } from "./throughput.ts";

const BAR = 3;
const STEP = 4;
const HEIGHT = 28;

export class Sparkline {
  readonly element = drawn("svg", {
    class: "sparkline",
    viewBox: `0 0 ${BINS * STEP} ${HEIGHT}`,
    role: "img",
    preserveAspectRatio: "none",
  });
  readonly #bars = Array.from({ length: BINS }, (_, i) => {
    const bar = { good: rectangle(i, "good"), other: rectangle(i, "bad") };
    this.element.append(bar.good, bar.other);
    return bar;
  });

  /** Bars for bins, the oldest first; null where nobody knows. */
  show(bins: readonly (Bin | null)[], label: string): void {
    const most = Math.max(4, ...bins.map((bin) => (bin === null ? 0 : bin.good + bin.other)));
    bins.forEach((bin, i) => {
      const bar = this.#bars[i];
      if (bar === undefined) return;
      const good = height(bin?.good ?? 0, most);
      const other = height(bin?.other ?? 0, most);
      // A moment in which nothing ended has a line, not a hole: it is known that nothing did.
      const base = bin !== null && good + other === 0 ? 1 : good;
      place(bar.good, HEIGHT - base, base);
      place(bar.other, HEIGHT - base - other, other);
    });
    setAttribute(this.element, "aria-label", label);
  }
}

function height(number: number, most: number): number {
  return number === 0 ? 0 : Math.max(2, (number / most) * (HEIGHT - 1));
}

function rectangle(i: number, kind: string): SVGElement {
  return drawn("rect", { x: i * STEP, width: BAR, y: HEIGHT, height: 0, "data-kind": kind });
}

function place(bar: SVGElement, top: number, height: number): void {
  setAttribute(bar, "y", top.toFixed(1));
  setAttribute(bar, "height", height.toFixed(1));
}
