// The few things that are done to a page here. Styles are sheets or set through CSSOM, so that the strictest policy
// (CSP without 'unsafe-inline') has nothing to say; whatever comes from a run is put in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";
const RING = "M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2";

// On a field of 16 by 16, drawn with lines. A shape for each kind: a colour alone tells nothing to many people.
const ICONS: Record<string, string> = {
  waiting: RING + "M8 5v3.5l2 1.5",
  working: RING + "M7 5.5v5l3.5-2.5z",
  ok: RING + "M5 8l2 2 4-4",
  bad: RING + "M6 6l4 4m0-4l-4 4",
  stopped: RING + "M4 4l8 8",
  todo: "M8 5a3 3 0 1 1 0 6 3 3 0 0 1 0-6",
  connecting: "M3 8h.01M8 8h.01M13 8h.01",
  stale: "M8 2l6 12H2zM8 7v3M8 12h.01",
  offline: "M2 2l12 12M2.5 7.5q5.5-5 11 0M5 10q3-2.5 6 0M8 13h.01",
  denied: "M4 7h8v6H4zM6 7V5a2 2 0 0 1 4 0v2",
};

/** An element that is styled as `::part(name)` from outside, and as `.name` from inside. */
export function part(name: string, children: Node[] = [], tag = "div", role?: string): HTMLElement {
  const element = document.createElement(tag);
  element.className = name;
  setAttribute(element, "part", name);
  if (role) setAttribute(element, "role", role);
  element.append(...children);
  return element;
}

export function slot(name: string): HTMLSlotElement {
  return Object.assign(document.createElement("slot"), { name });
}

/** An icon, to be drawn. It says nothing by itself: there are always words beside it. */
export function icon(): SVGElement {
  const svg = document.createElementNS(SVG, "svg");
  setAttribute(svg, "part", "icon");
  setAttribute(svg, "viewBox", "0 0 16 16");
  setAttribute(svg, "aria-hidden", "true");
  svg.append(document.createElementNS(SVG, "path"));
  return svg;
}

export function draw(svg: Element, name: string): void {
  setAttribute(svg.firstElementChild as Element, "d", ICONS[name] ?? "");
}

/** Set what differs; a write that changes nothing costs a style or layout all the same. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Set an attribute that differs; null removes it. */
export function setAttribute(element: Element, name: string, value: string | number | null): void {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== `${value}`) element.setAttribute(name, `${value}`);
}

/** As many children as there are values, each showing its own; those that are there already are used again. */
export function each<T>(
  parent: Element,
  values: readonly T[],
  make: () => Element,
  show: (child: Element, value: T) => void,
): void {
  while (parent.children.length > values.length) parent.lastElementChild?.remove();
  values.forEach((value, i) => show(parent.children[i] ?? parent.appendChild(make()), value));
}

/** Fill a bar so far with the colour of a kind. */
export function fill(element: Element, kind: string, percent: number): void {
  setAttribute(element, "data-kind", kind);
  (element as HTMLElement).style.inlineSize = `${percent}%`;
}

/** A sheet that all elements of a kind share. */
export function sheet(css: string): CSSStyleSheet {
  const made = new CSSStyleSheet();
  made.replaceSync(css);
  return made;
}
