/** Texts to take along: ids, commands, tokens. */

import { element, setText } from "./dom.ts";

/** A text with a button that copies it. */
export function copyable(text: string, { label = "copy", block = false } = {}): HTMLElement {
  const shown = element("code", {}, text);
  return element(
    "span",
    { class: block ? "copyable block" : "copyable" },
    shown,
    copyButton(() => text, label, shown),
  );
}

export function copyButton(text: () => string, label: string, shown?: HTMLElement): HTMLButtonElement {
  const button = element("button", { type: "button", class: "copy" }, label);
  button.addEventListener("click", () => {
    void copy(text(), shown).then((copied) => {
      setText(button, copied ? "copied" : "press Ctrl+C");
      setTimeout(() => setText(button, label), 1500);
    });
  });
  return button;
}

/** Returns whether it is copied. Without HTTPS a browser does not let us: then it is marked, to be copied by hand. */
async function copy(text: string, shown?: HTMLElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    if (shown) getSelection()?.selectAllChildren(shown);
    return false;
  }
}
