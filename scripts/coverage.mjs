// Branch coverage of src: `node scripts/coverage.mjs [arguments of vitest run]`. What vitest's own workers cover comes from its
// coverage; the commands that tests start as processes run from one module a source instead of the bundle (test/support/rig.ts),
// and V8 says of those what they cover. Both are told by source and place, and added up. Fails below LEAST percent.
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseAst, transformWithOxc } from "vite";

const require = createRequire(createRequire(import.meta.url).resolve("@vitest/coverage-v8"));
const { mergeProcessCovs } = require("@bcoe/v8-coverage");
const { default: toIstanbul } = require("ast-v8-to-istanbul");

const LEAST = 90;
const root = fileURLToPath(new URL("..", import.meta.url));
const folder = join(root, "coverage");
const home = join(folder, "home");
const processes = join(folder, "processes");
const OWN = join(folder, "coverage-final.json");

rmSync(folder, { recursive: true, force: true });
await writeModules();
runTests(process.argv.slice(2));
const branches = new Map();
for (const [file, coverage] of Object.entries(JSON.parse(readFileSync(OWN, "utf8")))) add(file, coverage);
for (const [file, coverage] of await coveredByProcesses()) add(file, coverage);
report();

/** Every source as a module of its own. Imports of ".ts" become ".js", as long as before, so that positions hold. */
async function writeModules() {
  mkdirSync(join(home, "bin"), { recursive: true });
  mkdirSync(processes);
  for (const name of ["node_modules", "configs", "templates", "native-plugins", "test", "scripts", "tsconfig.json"])
    symlinkSync(join(root, name), join(home, name));
  for (const name of ["package.json", "bin/package.json"]) cpSync(join(root, name), join(home, name));
  writeFileSync(join(home, "bin/mmtrt.js"), 'import("../src/cli/main.js");\n');
  for (const name of sources()) {
    const source = join(root, "src", name);
    const { code, map } = await transformWithOxc(readFileSync(source, "utf8"), source, { sourcemap: true });
    const module = join(home, "src", name.replace(/\.ts$/, ".js"));
    mkdirSync(dirname(module), { recursive: true });
    writeFileSync(module, code.replaceAll(/(from |import\()("\.[^"]+)\.ts"/g, '$1$2.js"'));
    writeFileSync(`${module}.map`, JSON.stringify({ ...map, file: module, sources: [source], sourceRoot: "" }));
  }
}

function sources() {
  return readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" }).filter(name => name.endsWith(".ts"));
}

/** Tests that fail leave their coverage all the same; what they fail by is for `npm test` to say. */
function runTests(args) {
  const vitest = join(root, "node_modules/vitest/vitest.mjs");
  const options = ["--coverage.enabled", "--coverage.include=src/**/*.ts", "--coverage.reporter=json"];
  const rest = ["--coverage.reportOnFailure", "--coverage.clean=false", `--coverage.reportsDirectory=${folder}`];
  spawnSync(process.execPath, [vitest, "run", ...options, ...rest, ...args], {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, MMTRT_TEST_COVERAGE: folder },
  });
}

async function coveredByProcesses() {
  let merged = { result: [] };
  for (const name of readdirSync(processes)) {
    // One that was killed while it wrote is no JSON.
    const said = parsed(readFileSync(join(processes, name), "utf8"));
    const result = said.result.filter(({ url }) => url.startsWith("file:") && fileURLToPath(url).startsWith(home));
    merged = mergeProcessCovs([merged, { result }]);
  }
  const files = [];
  for (const script of merged.result) {
    const module = fileURLToPath(script.url);
    if (!module.startsWith(join(home, "src"))) continue;
    const code = readFileSync(module, "utf8");
    const sourceMap = JSON.parse(readFileSync(`${module}.map`, "utf8"));
    files.push(...Object.entries(await toIstanbul({ code, sourceMap, ast: parseAst(code), coverage: script })));
  }
  return files;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return { result: [] };
  }
}

/** Arms by where their statement and they begin: where they end is not the same in two ways to compile one source. */
function add(file, { branchMap, b }) {
  const arms = branches.get(file) ?? new Map();
  branches.set(file, arms);
  for (const [id, { type, loc, locations }] of Object.entries(branchMap)) {
    for (const [i, { start }] of locations.entries()) {
      const key = `${type} ${loc.start.line}:${loc.start.column} ${i} ${start.line ?? ""}`;
      arms.set(key, (arms.get(key) ?? 0) + b[id][i]);
    }
  }
}

function report() {
  const of = arms => [...arms.values()].filter(count => count > 0).length;
  const rows = [...branches].map(([file, arms]) => ({
    file: file.slice(root.length),
    covered: of(arms),
    all: arms.size,
  }));
  const percent = ({ covered, all }) => (all === 0 ? 100 : (100 * covered) / all);
  const low = rows.filter(row => percent(row) < LEAST).sort((a, b) => b.all - b.covered - (a.all - a.covered));
  for (const row of low) {
    const missed = [...branches.get(join(root, row.file))].filter(([, count]) => count === 0);
    const lines = [...new Set(missed.map(([key]) => Number(key.split(" ")[1].split(":")[0])))].sort((a, b) => a - b);
    console.log(`${percent(row).toFixed(0).padStart(4)} %  ${row.covered}/${row.all}  ${row.file}: ${lines.join(" ")}`);
  }
  const total = rows.reduce((sum, row) => ({ covered: sum.covered + row.covered, all: sum.all + row.all }));
  console.log(`branches of src: ${total.covered} of ${total.all}, ${percent(total).toFixed(2)} %`);
  if (percent(total) < LEAST) process.exitCode = 1;
}
