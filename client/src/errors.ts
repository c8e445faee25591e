// What can go wrong, and what the end of a connection calls for (docs/protocol.md, "Close codes" and "Errors").

/** Something was refused for good. `code` is one of docs/protocol.md, "Errors". */
export class RuncastError extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message || code);
  }
}

/** How a connection ended, or why there was none. */
export interface Ending {
  /** In words, for people. */
  reason: string;
  /** A close code, the code of an error, or both. */
  code?: string | undefined;
  /** When the gateway wants us back, in milliseconds. */
  after?: number | undefined;
  /** How long to wait at least, whatever the reason, in milliseconds. */
  retry?: number | undefined;
  /** There is nobody at the other end. */
  unreachable?: boolean;
  /** It said nothing any more, or never anything: so the transport is to blame. */
  silent?: boolean;
  /** It ended as it should: with all that it carried, or because another tab has it now. */
  done?: boolean;
}

export type Verdict = "come back" | "new token" | "stay away";

/** What an ending calls for. Whatever may be the fault of something in between is worth another try, by other means. */
export function verdictOf(code = ""): Verdict {
  if (/4403|4411|revoked|allowed/.test(code)) return "stay away";
  return /4401|4410|token_|authenticated/.test(code) ? "new token" : "come back";
}
