// Bundles the CLI into dist/. What every call needs (help, option tables, checks of the command line, printing) is one file,
// dist/main.js; each command is loaded from dist/lazy/ when it runs and takes the shared code from main.js. esbuild's own
// splitting would cut the shared code into twenty chunks, and opening those takes longer than running them.
// Packages with native code stay outside the bundle; everything else is inlined.
import { readFileSync, rmSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));
const MAIN = resolve(root, "src/cli/main.ts");
/** Loaded on demand: the code of each command, and what reads the YAML file. */
const isLazy = file =>
  file.startsWith(resolve(root, "src/cli/commands/")) || file === resolve(root, "src/options/config.ts");

const common = {
  absWorkingDir: root,
  bundle: true,
  minifySyntax: true,
  minifyWhitespace: true,
  // Names stay as they are: the stack of a bug report is read by people, and keepNames would cost a call a function.
  minifyIdentifiers: false,
  platform: "node",
  format: "esm",
  target: "node20",
  external: ["onnxruntime-node", "sharp"],
  legalComments: "none",
  logLevel: "warning",
  metafile: true,
};

const resolved = ({ path, resolveDir }) => resolve(resolveDir, path);
const onRelative = visit => ({
  name: "relative-imports",
  setup: ({ onResolve }) =>
    onResolve({ filter: /^\.\.?\// }, args => (args.kind === "entry-point" ? undefined : visit(args))),
});

/** Files that `import()` leads to from the ones bundled so far. */
const lazy = new Set();
const leaveLazyOut = onRelative(args => {
  const file = resolved(args);
  if (args.kind !== "dynamic-import" || !isLazy(file)) return undefined;
  lazy.add(file);
  return { path: `./lazy/${basename(file, ".ts")}.js`, external: true };
});

const inRoot = file => resolve(root, file);
const sourcesOf = ({ metafile }) =>
  Object.keys(metafile.inputs)
    .map(inRoot)
    .filter(file => file.endsWith(".ts"));

rmSync(resolve(root, "dist"), { recursive: true, force: true });
const first = await build({ ...common, entryPoints: [MAIN], plugins: [leaveLazyOut], write: false, outdir: "dist" });
const shared = sourcesOf(first).filter(file => file !== MAIN);

// The commands import shared code by name, so main.js exports all of it. A name that two files export would be dropped.
const exportAll = shared.map(file => `export * from ${JSON.stringify(file)};`).join("\n");
const main = await build({
  ...common,
  stdin: { contents: `${exportAll}\nimport ${JSON.stringify(MAIN)};`, resolveDir: dirname(MAIN), loader: "ts" },
  plugins: [leaveLazyOut],
  outfile: "dist/main.js",
});

const sharedFiles = new Set(shared);
const commands = await build({
  ...common,
  entryPoints: [...lazy].sort(),
  outdir: "dist/lazy",
  entryNames: "[name]",
  splitting: true,
  chunkNames: "[name]-[hash]",
  plugins: [onRelative(args => (sharedFiles.has(resolved(args)) ? { path: "../main.js", external: true } : undefined))],
  // CommonJS packages inside an ES module bundle still call require() for Node's own modules.
  banner: {
    js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
  },
});

// A name that is missing would only show when its command runs.
const exported = new Set(main.metafile.outputs["dist/main.js"].exports);
for (const output of Object.keys(commands.metafile.outputs)) {
  const text = readFileSync(inRoot(output), "utf8");
  for (const [, names] of text.matchAll(/import\{([^}]*)\}from"\.\.\/main\.js"/g)) {
    for (const name of names.split(",").map(part => part.split(" as ")[0].trim())) {
      if (!exported.has(name))
        throw new Error(`${output} imports ${name}, which dist/main.js does not export: do two files export it?`);
    }
  }
}
