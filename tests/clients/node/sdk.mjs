// The SDK of the version that is tested.

import { version } from "./packages.mjs";
import "./stage.mjs"; // it counts requests from the first one on

export { version };

// 4.5.0 leaves a subscription open when its run has ended; 4.8.3 ends it (trigger-realtime.md, section 9).
export const endsWithTheRun = version !== "4.5.0";

export const { auth, batch, configure, metadata, runs, sessions, streams, tags, tasks, wait } = await import(`sdk-${version}`);

// A public token that may do what `scopes` say.
export const publicToken = (scopes, options = {}) => auth.createPublicToken({ scopes, ...options });
