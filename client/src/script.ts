// The client as a plain script, which puts it into one global name: `Runcast.connect(…)`.

import { connect, isFinal, RuncastError } from "./index.ts";

(globalThis as { Runcast?: object }).Runcast = { connect, isFinal, RuncastError };
