// What happens to a page that concerns its connection: seen or hidden, frozen or left, online or not.

export interface Patient {
  /** Something changed, perhaps for the better: if it waits, it need not wait any longer; if it may be dead, look. */
  wake(): void;
  /** Let everything go until it is woken. */
  pause(): void;
  /** The browser says that there is no network. */
  disconnect(): void;
}

export const isHidden = (): boolean => !!globalThis.document?.hidden;

/** Tells `patient` what happens, until what is returned is called. Where there is no page, little does. */
export function watchPage({ wake, pause, disconnect }: Patient): () => void {
  const done = new AbortController();
  const on = (target: EventTarget | undefined, types: string, hear: () => void) => {
    for (const type of types.split(" ")) target?.addEventListener?.(type, hear, done);
  };
  // Not `unload`: with it a page is not kept for when its visitor comes back.
  on(globalThis as never, "online pageshow", wake);
  on(globalThis as never, "offline", disconnect);
  on(globalThis as never, "pagehide", pause);
  on(globalThis.document, "visibilitychange resume", wake);
  on(globalThis.document, "freeze", pause);
  return () => done.abort();
}
