// Builds what pages load: `node client/build.mjs [OUTDIR]`, by default into gateway/web/assets, where it is committed.
//
// The same sources and the same lock file give the same bytes; tests/client/test_build.py holds that, and the sizes.

import { build, transform } from "esbuild";
import { copyFileSync, mkdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const CLIENT = dirname(fileURLToPath(import.meta.url));
const OUT = resolve(process.argv[2] ?? join(CLIENT, "../gateway/web/assets"));
const CSS_TARGET = ["chrome123", "firefox121", "safari17.5"];

/** From where (seen from here) what is built, and in which form: for `import`, or also for a plain script. */
const ENTRIES = [
  { entry: "src/index.ts", out: "runcast.js", format: "esm" },
  { entry: "src/index.ts", out: "runcast.global.js", format: "iife", globalName: "Runcast" },
  { entry: "src/elements/run-status.entry.ts", out: "run-status.js", format: "iife" },
  { entry: "src/elements/index.ts", out: "run-list.js", format: "iife" },
  { entry: "src/embed.ts", out: "embed.js", format: "iife" },
  { entry: "src/embed.css", out: "embed.css" },
  { entry: "../dashboard/dashboard.ts", out: "dashboard.js", format: "esm" },
  { entry: "../dashboard/dashboard.css", out: "dashboard.css" },
];
/** Only in the npm package, which is built into another place. */
const PACKAGED = [{ entry: "src/elements/index.ts", out: "elements.js", format: "esm" }];
/** What is copied as it is. A page's addresses are put in when it is served (gateway/web/assets.py). */
const COPIES = [{ entry: "../dashboard/dashboard.html", out: "dashboard.html" }];

/** A stylesheet that a script imports is text: it is put into a shadow tree, or adopted. */
const cssAsText = {
  name: "css as text",
  setup(bundle) {
    bundle.onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const { code } = await transform(await readFile(path, "utf8"), {
        loader: "css",
        minify: true,
        target: CSS_TARGET,
      });
      return { contents: code.trim(), loader: "text" };
    });
  },
};

const inPackage = process.argv.includes("--package");
mkdirSync(OUT, { recursive: true });
for (const { entry, out, format, globalName } of [...ENTRIES, ...(inPackage ? PACKAGED : [])]) {
  const source = join(CLIENT, entry);
  const isScript = !out.endsWith(".css");
  if (inPackage && (!entry.startsWith("src/") || out.startsWith("embed"))) continue;
  await build({
    absWorkingDir: CLIENT,
    entryPoints: [source],
    outfile: join(OUT, out),
    bundle: true,
    minify: true,
    charset: "utf8",
    legalComments: "none",
    logLevel: "warning",
    ...(isScript
      ? {
          format,
          target: "es2022",
          plugins: [cssAsText],
          // A plain script knows by other means where it came from.
          define: format === "iife" ? { "import.meta.url": "undefined" } : {},
          ...(globalName && { globalName }),
        }
      : { target: CSS_TARGET }),
  });
}
if (!inPackage) for (const { entry, out } of COPIES) copyFileSync(join(CLIENT, entry), join(OUT, out));
