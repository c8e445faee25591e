// Where the gateway is and what this visitor may see: the page's own backend says it, nothing is built in.

import { TriggerAuthContext } from "@trigger.dev/react-hooks";
import { createContext, useCallback, useContext, useEffect, useMemo, useState, type ReactNode } from "react";

type Session = {
  /** The gateway. Its RUNCAST_ALLOWED_ORIGINS names the origin of this page. */
  baseURL: string;
  /** A public token; see backend.py. */
  accessToken: string;
  /** When it ends, in milliseconds since 1970. Left out: never renewed. */
  expiresAt?: number;
};

const RETRY_MS = 5000;

async function fetchSession(): Promise<Session> {
  const answer = await fetch("/api/session");
  if (!answer.ok) {
    throw new Error(`the backend answered ${answer.status}`);
  }
  return answer.json();
}

async function refreshAccessToken(): Promise<string> {
  return (await fetchSession()).accessToken;
}

const RenewContext = createContext<() => Promise<void>>(async () => {});

/** Fetches a new token now: for when this visitor may see more than before. */
export const useRenew = () => useContext(RenewContext);

/** Gives the hooks inside a base URL and a token, and a new token well before the old one ends. */
export function SignedIn({ children }: { children: ReactNode }) {
  const [session, setSession] = useState<Session>();
  const [problem, setProblem] = useState<Error>();
  const renew = useCallback(async () => setSession(await fetchSession()), []);

  useEffect(() => {
    let wanted = true;
    let timer: number | undefined;
    const renewIn = (ms: number) => {
      timer = setTimeout(() => {
        renew().catch((error: Error) => {
          setProblem(error);
          if (wanted) renewIn(RETRY_MS);
        });
      }, ms);
    };
    if (!session) {
      renewIn(0);
    } else if (session.expiresAt) {
      renewIn(Math.max((session.expiresAt - Date.now()) * 0.8, 1000));
    }
    return () => {
      wanted = false;
      clearTimeout(timer);
    };
  }, [session, renew]);

  // Feeds that are open go on with the token that they began with; whatever asks next takes the new one.
  const auth = useMemo(() => session && { ...session, refreshAccessToken }, [session]);

  if (!auth) {
    return problem ? <p role="alert">No session: {problem.message}</p> : <p className="quiet">Signing in…</p>;
  }
  return (
    <TriggerAuthContext.Provider value={auth}>
      <RenewContext.Provider value={renew}>{children}</RenewContext.Provider>
    </TriggerAuthContext.Provider>
  );
}
