// What can be written in a tag, for those whose tools check that: React, Preact, Vue (client/types). Only types.

import type { ConnectionState, Options, Run, RuncastError, Status, View } from "../index.ts";
import type { Words } from "./words.ts";

/** What both elements take: attributes, and properties where a framework sets those. */
export interface RunElementAttributes {
  run?: string | undefined;
  /** One tag, or several between commas. */
  tag?: string | undefined;
  batch?: string | undefined;
  task?: string | undefined;
  /** There, or not: `undefined` rather than `false`, which some write into the page. */
  all?: "" | true | undefined;
  token?: string | undefined;
  "token-url"?: string | undefined;
  src?: string | undefined;
  since?: string | undefined;
  limit?: number | string | undefined;
  label?: string | undefined;
  data?: Run | Run[] | null | undefined;
  getToken?: Options["getToken"];
  words?: Words | undefined;
}

export interface RunStatusAttributes extends RunElementAttributes {
  variant?: "bar" | "badge" | "steps" | "log" | "compact" | undefined;
  stream?: string | undefined;
}

export interface RunListAttributes extends RunElementAttributes {
  /** Where the name of a run leads to, with `{id}` in it. */
  href?: string | undefined;
}

/** The events of both elements, by their names. */
export interface RunElementEvents {
  "run-update": CustomEvent<View>;
  "run-end": CustomEvent<{ run: Run; status: Status }>;
  "run-error": CustomEvent<RuncastError>;
  "run-connection": CustomEvent<ConnectionState>;
}

/** As JSX has them: `onrun-end={(event) => …}`. */
export type RunElementListeners = {
  [Name in keyof RunElementEvents as `on${Name}`]?: ((event: RunElementEvents[Name]) => void) | undefined;
};

declare global {
  interface GlobalEventHandlersEventMap extends RunElementEvents {}
}
