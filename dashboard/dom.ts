/** Few lines instead of a framework: elements are made here, and changed only where they say something else. */

type Child = Node | string | null | undefined | false;
type Properties = Record<string, string | number | boolean | null | undefined | ((event: never) => void)>;

/**
 * A new element.
 *
 * `onclick` and the like take functions; everything else is an attribute: `true` is one without a value, `false`, null
 * and undefined are none. There is no way to give markup: what a run says is text wherever it is put.
 */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Properties = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") made.addEventListener(name.slice(2), value as EventListener);
    else setAttribute(made, name, value);
  }
  made.append(
    ...children.filter((child): child is Node | string => child !== null && child !== undefined && child !== false),
  );
  return made;
}

export function setAttribute(of: Element, name: string, value: string | number | boolean | null | undefined): void {
  if (value === null || value === undefined || value === false) {
    if (of.hasAttribute(name)) of.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (of.getAttribute(name) !== text) of.setAttribute(name, text);
}

export function setText(of: Node, text: string): void {
  if (of.textContent !== text) of.textContent = text;
}

/** A number that the stylesheet uses. Through the object model, for a strict policy forbids the attribute. */
export function setNumber(of: HTMLElement | SVGElement, name: `--${string}`, value: number): void {
  const text = value.toFixed(4);
  if (of.style.getPropertyValue(name) !== text) of.style.setProperty(name, text);
}

/** Elements for a list of things, made once for each key and put in order; those that are not meant any more go. */
export class Keyed<T, E extends Element> {
  readonly #parent: Element;
  readonly #make: (item: T) => E;
  readonly #show: (made: E, item: T) => void;
  readonly #made = new Map<string, E>();

  constructor(parent: Element, make: (item: T) => E, show: (made: E, item: T) => void = () => undefined) {
    this.#parent = parent;
    this.#make = make;
    this.#show = show;
  }

  show(items: readonly T[], key: (item: T) => string): void {
    const wanted = new Set(items.map(key));
    for (const [name, made] of this.#made) {
      if (wanted.has(name)) continue;
      made.remove();
      this.#made.delete(name);
    }
    let after: Element | null = null;
    for (const item of items) {
      const name = key(item);
      let made = this.#made.get(name);
      if (made === undefined) this.#made.set(name, (made = this.#make(item)));
      const place: Element | null = after === null ? this.#parent.firstElementChild : after.nextElementSibling;
      if (made !== place) this.#parent.insertBefore(made, place);
      this.#show(made, item);
      after = made;
    }
  }
}

/** A shape of a drawing. */
export function drawn(tag: string, attributes: Record<string, string | number> = {}): SVGElement {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  return made;
}

/** A function that has *draw* called once in the next animation frame, however often it is called itself. */
export function perFrame(draw: () => void): () => void {
  let frame: number | null = null;
  return () => {
    frame ??= requestAnimationFrame(() => {
      frame = null;
      draw();
    });
  };
}
