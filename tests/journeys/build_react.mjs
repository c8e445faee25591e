// Builds examples/react otherwise than `npm run build` does: node build_react.mjs DIRECTORY MODE [HOOKS]
// HOOKS is another installation of the hooks to build it with.

import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";

const [directory, mode, hooks] = process.argv.slice(2);
const root = fileURLToPath(new URL("../../examples/react/", import.meta.url));
const { build } = await import(pathToFileURL(createRequire(root).resolve("vite")).href);

await build({
  root,
  mode,
  logLevel: "warn",
  build: { outDir: directory, minify: false, reportCompressedSize: false },
  resolve: {
    alias: hooks ? { "@trigger.dev/react-hooks": hooks } : {},
    dedupe: ["react", "react-dom"],
  },
});
