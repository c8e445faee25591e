/** The page before the others: who are you? */

import { ApiError } from "./api.ts";
import { element, setText } from "./dom.ts";
import { type Session, signIn } from "./session.ts";

/** Calls *entered* once the gateway took what was typed. *why* tells whoever was signed in what happened. */
export function signInPage(entered: (session: Session) => void, why = ""): HTMLElement {
  const field = element("input", {
    id: "credential",
    name: "credential",
    // Browsers offer to keep passwords; this is not one, and is not to be kept.
    type: "password",
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    required: true,
    "aria-describedby": "credential-help credential-problem",
  });
  const problem = element("p", { id: "credential-problem", class: "problem", role: "alert" }, why);
  const button = element("button", { type: "submit", class: "primary" }, "Sign in");
  const enter = async (event: Event): Promise<void> => {
    event.preventDefault();
    button.disabled = true;
    setText(problem, "");
    try {
      entered(await signIn(field.value.trim()));
    } catch (error) {
      setText(problem, error instanceof ApiError ? error.message : String(error));
      field.focus();
    } finally {
      button.disabled = false;
    }
  };
  const form = element(
    "form",
    { class: "sign-in card", onsubmit: (event: Event) => void enter(event) },
    element("h1", {}, "Runcast"),
    element("label", { for: "credential" }, "Secret key or token"),
    field,
    button,
    problem,
    element(
      "p",
      { id: "credential-help", class: "quiet" },
      "It stays in this tab, and is forgotten when the tab is closed. A token shows what its scopes allow.",
    ),
  );
  requestAnimationFrame(() => field.focus());
  return form;
}
