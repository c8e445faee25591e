// A page's own markup for a run: a <template> within <run-status>, whose elements say with `data-bind` what they show.
//
// What a run says is never markup. It becomes text, or an attribute that runs nothing and loads nothing.

import { setAttribute, setText } from "./dom.ts";

/** `data-bind` for text, `data-bind-value` for an attribute. Those that are not here are not bound. */
const BOUND = /^data-bind(?:-(value|max|title|alt|datetime|href|aria-\w+))?$/;
/** Where a link may lead, and so not `javascript:`. */
const WEB = /^(https?:\/)?\//;
/** Elements whose text is not only shown. */
const CODE = /^(script|style)$/;

export class Markup {
  readonly #place = document.createElement("div");
  #template: HTMLTemplateElement | null = null;

  constructor() {
    this.#place.slot = "custom";
  }

  /** Show in *host* what *template* has, with what is *known* in it; null for nothing. */
  show(host: Element, template: HTMLTemplateElement | null, known: object): void {
    const place = this.#place;
    if (template !== this.#template) place.replaceChildren(template?.content.cloneNode(true) ?? "");
    this.#template = template;
    if (!template) place.remove();
    else if (place.parentNode !== host) host.append(place);
    for (const element of place.querySelectorAll("*")) bind(element, known);
  }
}

function bind(element: Element, known: object): void {
  for (const name of element.getAttributeNames()) {
    const [found, attribute] = BOUND.exec(name) ?? [];
    const text = found ? textAt(known, element.getAttribute(name) ?? "") : "";
    if (attribute) {
      const safe = attribute !== "href" || (element.localName === "a" && WEB.test(text));
      setAttribute(element, attribute, text && safe ? text : null);
    } else if (found && !CODE.test(element.localName)) setText(element, text);
  }
}

/** What there is at a path such as `run.metadata.step`; nothing, where it leads nowhere. */
function textAt(known: object, path: string): string {
  const step = (value: unknown, key: string): unknown =>
    Object.hasOwn(Object(value), key) ? (value as Record<string, unknown>)[key] : null;
  const found = path.split(".").reduce(step, known);
  return typeof found === "object" ? (found ? JSON.stringify(found) : "") : `${found}`;
}
