import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { collect, type Listed, listEntries, verifyEntries } from "../../build/cache/collect.ts";
import { Cache } from "../../build/cache/store.ts";
import { fail } from "../../diagnostics/index.ts";
import { cacheOptions } from "../../options/tables/cache.ts";
import { showBytes } from "../../rules/rule.ts";
import { type CommandContext, defineCommand } from "../command.ts";
import { formatTable } from "../ui.ts";

type CacheContext = CommandContext<typeof cacheOptions>;

const GIB = 1024 ** 3;
const DAY_MS = 24 * 3_600_000;

export const cache = defineCommand({
  name: "cache",
  options: cacheOptions,
  async run(context) {
    const { options, ui } = context;
    const dir = resolve(options.cache_dir);
    // Opening one makes its directory; looking must not.
    if (!existsSync(dir)) return ui.result(`no cache at ${dir}`, { cache_dir: dir, bytes: 0, entries: [] });
    const opened = await Cache.open(dir);
    try {
      if (options.action === "ls") await list(opened, context);
      else if (options.action === "gc") await clear(opened, context);
      else await verify(opened, context);
    } finally {
      await opened.close();
    }
  },
});

async function list(opened: Cache, { ui }: CacheContext): Promise<void> {
  const all = await listEntries(opened);
  const rows = all.map(({ kind, key, bytes, used, reason }) => [
    kind,
    key.slice(0, 16),
    showBytes(bytes),
    new Date(used).toISOString().slice(0, 16).replace("T", " "),
    reason ?? "",
  ]);
  const total = all.reduce((sum, { bytes }) => sum + bytes, 0);
  const text = rows.length === 0 ? "" : `${formatTable(["step", "key", "size", "last used (UTC)", ""], rows)}\n`;
  ui.result(`${text}${all.length} results, ${showBytes(total)}`, {
    cache_dir: opened.dir,
    bytes: total,
    entries: all.map(described),
  });
}

async function clear(opened: Cache, { options, origin, ui }: CacheContext): Promise<void> {
  const { max_size: size, max_age: age } = options;
  if (size === undefined && age === undefined)
    fail({
      code: "CFG004",
      at: origin("max_size"),
      what: "neither --max_size nor --max_age is given",
      why: "without a limit everything may stay",
      fix: "--max_size GIB, --max_age DAYS, or both",
    });
  const removed = await collect(opened, {
    ...(size !== undefined && { maxBytes: size * GIB }),
    ...(age !== undefined && { maxAgeMs: age * DAY_MS }),
  });
  const bytes = removed.reduce((sum, one) => sum + one.bytes, 0);
  ui.result(`${removed.length} results removed, ${showBytes(bytes)}`, { bytes, removed: removed.map(described) });
}

async function verify(opened: Cache, { options, ui, signal }: CacheContext): Promise<void> {
  const { repair } = options;
  const onEntry = (done: number, total: number): void =>
    ui.progress({ id: "verify", label: "verify", done, total, unit: "results" });
  const { entries, bytes, damaged } = await verifyEntries(opened, { repair, signal, onEntry });
  const lines = damaged.map(({ kind, key, reason }) => `${kind} ${key.slice(0, 16)}: ${reason}`);
  ui.result([...lines, `${entries} results, ${showBytes(bytes)}, ${damaged.length} damaged`].join("\n"), {
    entries,
    bytes,
    damaged,
    repaired: repair,
  });
  if (damaged.length === 0 || repair) return;
  fail({
    code: "MTX012",
    at: opened.dir,
    what: `${damaged.length} of ${entries} results are not what was written`,
    why: "a disk, a copy or a program changed them; a run takes them for absent",
    fix: "mmtrt cache verify --repair",
  });
}

function described({ kind, key, bytes, used, reason }: Listed): Record<string, unknown> {
  return { kind, key, bytes, used: new Date(used).toISOString(), ...(reason !== undefined && { reason }) };
}
