// Bundles the CLI into dist/. What every call needs (help, option tables, checks of the command line, printing) is one file,
// dist/main.js; each command is loaded from dist/lazy/ when it runs and takes the shared code from main.js. esbuild's own
// splitting would cut the shared code into twenty chunks, and opening those takes longer than running them. Shared likewise
// are the files that open a checkpoint, in dist/checkpoint.js. The bundles are CommonJS: starting Node's loader of ES modules
// takes as long as running mmtrt --help.
// Packages with native code stay outside the bundle; everything else is inlined.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build, transform } from "esbuild";
import { thirdPartyLicences } from "./third-party.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const MAIN = resolve(root, "src/cli/main.ts");
/** Opening a converted checkpoint: formats, architectures and their layers, which most commands need together. */
const CHECKPOINT = resolve(root, "src/checkpoint/read.ts");
/** Loaded on demand: the code of each command, what reads the YAML file, and what draws bars. */
const LAZY = ["src/options/config.ts", "src/cli/ui/ora.ts"].map(file => resolve(root, file));
const isLazy = file => file.startsWith(resolve(root, "src/cli/commands/")) || LAZY.includes(file);

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

/**
 * One file of shared code: everything the entry reaches but what earlier bundles hold. It exports all of it, since later
 * bundles import shared code by name.
 */
async function bundleShared({ entry, outfile, plugins, runs }) {
  const first = await build({ ...common, entryPoints: [entry], plugins, write: false, outdir: "dist" });
  const files = sourcesOf(first).filter(file => !runs || file !== entry);
  const exportAll = files.map(file => `export * from ${JSON.stringify(file)};`).join("\n");
  const contents = runs ? `${exportAll}\nimport ${JSON.stringify(entry)};` : exportAll;
  const { metafile } = await build({
    ...common,
    stdin: { contents, resolveDir: dirname(entry), loader: "ts" },
    plugins,
    outfile,
  });
  const { exports } = metafile.outputs[outfile];
  return { files: new Set(files), outfile, exported: new Set(exports), inputs: Object.keys(metafile.inputs) };
}

const leaveSharedOut = (path, shared) =>
  onRelative(args => (shared.files.has(resolved(args)) ? { path, external: true } : undefined));

rmSync(resolve(root, "dist"), { recursive: true, force: true });
const main = await bundleShared({ entry: MAIN, outfile: "dist/main.js", plugins: [leaveLazyOut], runs: true });
const checkpoint = await bundleShared({
  entry: CHECKPOINT,
  outfile: "dist/checkpoint.js",
  plugins: [leaveSharedOut("./main.js", main)],
  runs: false,
});

const commands = await build({
  ...common,
  entryPoints: [...lazy].sort(),
  outdir: "dist/lazy",
  entryNames: "[name]",
  splitting: true,
  chunkNames: "[name]-[hash]",
  plugins: [leaveSharedOut("../main.js", main), leaveSharedOut("../checkpoint.js", checkpoint)],
});

for (const output of [main.outfile, checkpoint.outfile, ...Object.keys(commands.metafile.outputs)]) {
  const code = readFileSync(inRoot(output), "utf8");
  checkImports(output, code);
  writeFileSync(inRoot(output), await asCommonJs(code));
}
writeFileSync(resolve(root, "dist/package.json"), '{ "type": "commonjs" }\n');
const inputs = [...main.inputs, ...checkpoint.inputs, ...Object.keys(commands.metafile.inputs)];
writeFileSync(resolve(root, "dist/THIRD_PARTY_LICENSES.txt"), `${thirdPartyLicences(root, inputs)}\n`);

/** esbuild splits ES modules alone, so what it made is translated file by file; import() becomes a require() when called. */
async function asCommonJs(code) {
  const { minifySyntax, minifyWhitespace, platform, target } = common;
  const result = await transform(code, {
    ...{ minifySyntax, minifyWhitespace, platform, target },
    format: "cjs",
    supported: { "dynamic-import": false },
    define: { "import.meta.url": "__url" },
    banner: code.includes("import.meta.url") ? 'const __url = require("node:url").pathToFileURL(__filename).href;' : "",
  });
  return result.code;
}

/** A name that is missing would only show when its command runs. */
function checkImports(output, code) {
  for (const { outfile, exported } of [main, checkpoint]) {
    const importing = new RegExp(`import\\{([^}]*)\\}from"\\.{1,2}/${basename(outfile)}"`, "g");
    for (const [, names] of code.matchAll(importing)) {
      for (const name of names.split(",").map(part => part.split(" as ")[0].trim())) {
        if (!exported.has(name))
          throw new Error(`${output} imports ${name}, which ${outfile} does not export: do two files export it?`);
      }
    }
  }
}
