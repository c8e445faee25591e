// Builds what pages load: `node client/build.mjs [OUTDIR]`, by default into gateway/web/assets, where it is committed;
// with `--package` what the npm package has.
//
// The same sources and the same lock file give the same bytes; tests/client/test_build.py holds that, and the sizes.

import { build, transform } from "esbuild";
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { minify } from "terser";

const CLIENT = dirname(fileURLToPath(import.meta.url));
const PACKAGE = process.argv.includes("--package");
const OUT = resolve(
  process.argv.slice(2).find((each) => !each.startsWith("--")) ?? join(CLIENT, "../gateway/web/assets"),
);
/** The dashboard is for those who operate a gateway; the elements are for whoever comes (docs/elements.md). */
const CSS_TARGET = ["chrome123", "firefox121", "safari17.5"];
const ELEMENTS_TARGET = ["chrome111", "firefox113", "safari16.4"];

/**
 * From where (seen from here) what is built, and in which form: for `import`, or also for a plain script. Parts come
 * first: whatever has the client in it has their hashes.
 */
const PARTS = [
  { entry: "src/networks.ts", out: "runcast.networks.js", format: "esm" },
  { entry: "src/browser.ts", out: "runcast.browser.js", format: "esm" },
  { entry: "src/elements/views.ts", out: "runcast.views.js", format: "esm" },
];
const CLIENTS = [
  { entry: "src/index.ts", out: "runcast.js", format: "esm" },
  { entry: "src/script.ts", out: "runcast.global.js", format: "iife" },
  { entry: "src/elements/run-status.entry.ts", out: "run-status.js", format: "iife" },
  { entry: "src/elements/index.ts", out: "run-list.js", format: "iife" },
];
const PAGES = [
  { entry: "src/embed.ts", out: "embed.js", format: "iife" },
  { entry: "src/embed.css", out: "embed.css" },
  { entry: "../dashboard/dashboard.ts", out: "dashboard.js", format: "esm" },
  { entry: "../dashboard/dashboard.css", out: "dashboard.css" },
];
/** Only in the npm package. */
const MODULES = [{ entry: "src/elements/index.ts", out: "elements.js", format: "esm" }];
/** What is copied as it is. A page's addresses are put in when it is served (gateway/web/assets.py). */
const COPIES = [{ entry: "../dashboard/dashboard.html", out: "dashboard.html" }];

/**
 * Names that the core of the client and its parts have among themselves, and nobody else: they are spelled shorter. None
 * of them may be in what pages use, in the protocol, or in what browsers have; tests/client/test_build.py holds that.
 */
const INTERNAL = (
  "caughtUp patience trouble isLive receive leave wire heard trial over asking outOfStep takeIn advanceTo " +
  "mirror readers known refusal changeTo inUse relay watched unreachable unheard hear look place findLink " +
  "nth getNew toShow tokens wish feeds opened failed wake restart sleep ids"
).split(" ");
let spelled = {};

/** A stylesheet that a script imports is text: it is put into a shadow tree, or adopted. */
const cssAsText = {
  name: "css as text",
  setup(bundle) {
    bundle.onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const { code } = await transform(await readFile(path, "utf8"), {
        loader: "css",
        minify: true,
        target: ELEMENTS_TARGET,
      });
      return { contents: code.trim(), loader: "text" };
    });
  },
};

/** Where the gateway serves the client, its parts are found by their hashes. */
const partsByHash = {
  name: "parts by hash",
  setup(bundle) {
    bundle.onResolve({ filter: /\/parts\.ts$/ }, ({ path, resolveDir }) => ({
      path: join(resolveDir, dirname(path), "parts.served.ts"),
    }));
  },
};

/** In the npm package they are beside it, which bundlers understand. */
const partsBeside = {
  name: "parts beside",
  setup(bundle) {
    bundle.onResolve({ filter: /\/(networks|browser|views)\.ts$/ }, ({ path, kind }) =>
      kind === "dynamic-import" ? { path: `./runcast.${basename(path, ".ts")}.js`, external: true } : undefined,
    );
  },
};

/** The name under which the gateway serves a file for ever (gateway/web/assets.py). */
function versionedName({ out }, text) {
  return out.replace(/\.js$/, `.${createHash("sha256").update(text).digest("hex").slice(0, 12)}.js`);
}

async function make({ entry, out, format }, { plugins = [], define = {} } = {}) {
  const isScript = !out.endsWith(".css");
  const { outputFiles, mangleCache } = await build({
    absWorkingDir: CLIENT,
    entryPoints: [join(CLIENT, entry)],
    bundle: true,
    minify: true,
    write: false,
    charset: "utf8",
    legalComments: "none",
    logLevel: "warning",
    ...(isScript
      ? {
          format,
          target: "es2022",
          tsconfigRaw: { compilerOptions: { useDefineForClassFields: false } },
          plugins: [cssAsText, ...plugins],
          define: {
            ...define,
            IS_SCRIPT: `${format === "iife"}`,
            HAS_ELEMENTS: `${out.startsWith("run-")}`,
            ...(format === "iife" && { "import.meta.url": "undefined" }),
          },
          ...(INTERNAL.length && { mangleProps: new RegExp(`^(${INTERNAL.join("|")})$`), mangleCache: spelled }),
        }
      : { target: CSS_TARGET }),
  });
  spelled = { ...spelled, ...mangleCache };
  const text = outputFiles[0].text;
  const made = isScript ? await smaller(text, format) : text;
  writeFileSync(join(OUT, out), made);
  return made;
}

async function smaller(text, format) {
  const { code } = await minify(text, {
    ecma: 2022,
    module: format === "esm",
    compress: { passes: 3, unsafe_arrows: true },
  });
  return code + "\n";
}

if (PACKAGE) rmSync(OUT, { recursive: true, force: true }); // what was built before is in nobody's package
mkdirSync(OUT, { recursive: true });
const files = {};
for (const part of PARTS) {
  const name = basename(part.entry, ".ts").toUpperCase() + "_FILE";
  files[name] = JSON.stringify(versionedName(part, await make(part)));
}
if (PACKAGE) {
  for (const each of [...CLIENTS, ...MODULES]) await make(each, { plugins: [partsBeside] });
} else {
  for (const each of CLIENTS) await make(each, { plugins: [partsByHash], define: files });
  for (const each of PAGES) await make(each);
  for (const { entry, out } of COPIES) copyFileSync(join(CLIENT, entry), join(OUT, out));
}
