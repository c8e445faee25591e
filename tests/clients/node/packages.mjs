// The packages of the version that is tested, which TRIGGER_SDK names.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

export const version = process.env.TRIGGER_SDK;
const manifest = createRequire(import.meta.url).resolve(`sdk-${version}/package.json`);
const found = JSON.parse(readFileSync(manifest)).version;
if (found !== version) throw new Error(`sdk-${version} is ${found}`);

// A module of the core package that came with the SDK, as the SDK itself imports it.
export function core(entry) {
  const path = createRequire(manifest).resolve(`@trigger.dev/core/${entry}`);
  return import(pathToFileURL(path.replace("/dist/commonjs/", "/dist/esm/")));
}
