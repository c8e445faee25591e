/** What every page of the dashboard has; one is shown at a time. */

import type { ConnectionState } from "../client/src/index.ts";
import type { Place } from "./address.ts";

export interface Page {
  readonly element: HTMLElement;
  readonly title: string;
  /** How true it is what the page shows. */
  connection(): ConnectionState | null;
  /** Go to another place of the same page, if it can: other filters, the same list. */
  move?(place: Place): boolean;
  /** `/` was pressed. */
  search?(): void;
  /** `j` or `k`, or an arrow where nothing else has the focus. */
  step?(by: number): void;
  close(): void;
}
