/**
 * What time it is for the gateway. A laptop's clock may be minutes off, and "started 3 min ago" of a run that was
 * created just now would be a lie.
 */

/** Below this the difference may as well be the way here. */
const TOLERATED_MILLISECONDS = 2_000;

export class ServerClock {
  #ahead = Number.NEGATIVE_INFINITY;

  /** The gateway was seen to be at *moment* (or a little later: it took a while to come here). */
  saw(moment: Date): void {
    this.#ahead = Math.max(this.#ahead, moment.getTime() - Date.now());
  }

  /** Unix milliseconds. */
  now(): number {
    return (
      Date.now() + (Math.abs(this.#ahead) > TOLERATED_MILLISECONDS && Number.isFinite(this.#ahead) ? this.#ahead : 0)
    );
  }
}

export const serverClock = new ServerClock();
