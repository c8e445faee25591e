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
  /** Whether there is nobody at the other end. If it is not said, so it is when there was no welcome. */
  unreachable?: boolean;
  /** It said nothing any more, or never anything: so the transport is to blame. */
  unheard?: boolean;
  /** It ended as it should: with all that it carried, or because another tab has it now. */
  done?: boolean;
}

/** By its codes: the token is no good, and another one may be. */
export const TOKEN_REFUSED = /4401|4410|token_|authenticated/;
/**
 * By its codes: there is nothing to be had here. What may be the fault of something in between is worth another try,
 * by other means.
 */
export const FOR_GOOD = /4403|4411|revoked|allowed/;
