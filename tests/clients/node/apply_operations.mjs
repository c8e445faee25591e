// Applies metadata operations as the SDK does to its own copy: cases as JSON on stdin, the documents on stdout.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";

const sdk = createRequire(import.meta.url).resolve(`sdk-${process.env.TRIGGER_SDK}/package.json`);
const core = dirname(createRequire(sdk).resolve("@trigger.dev/core/package.json"));
const { applyMetadataOperations } = await import(pathToFileURL(join(core, "dist/esm/v3/runMetadata/operations.js")));

const cases = JSON.parse(readFileSync(0, "utf8"));
const documents = cases.map(({ before, operations }) => applyMetadataOperations(before, operations).newMetadata);
process.stdout.write(JSON.stringify(documents));
