// Runs a file of tests: `node run.mjs FILE`.
//
// Node's own runner ends when nothing is open any more, and versions differ in how it can be told not to wait. The clients
// leave polls open that last for half a minute; so this one ends with the last test.

import { run } from "./tests.mjs";

await import(`./${process.argv[2]}`);
process.exit(await run());
