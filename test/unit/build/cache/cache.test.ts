import { link, mkdir, readdir, readFile, rename, rm, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { collect, listEntries, verifyEntries } from "../../../../src/build/cache/collect.ts";
import { thisOwner } from "../../../../src/build/cache/host.ts";
import { Locks } from "../../../../src/build/cache/locks.ts";
import { HashMemo } from "../../../../src/build/cache/memo.ts";
import { Cache, type StepKey, stageName, stepKey } from "../../../../src/build/cache/store.ts";
import { Workspace } from "../../../support/pipeline.ts";

const work = new Workspace();
afterEach(() => work.clean());

const KEY = stepKey("graph", { step: 1, onnx_sha256: "x" });
const NONE = new AbortController().signal;

async function publish(cache: Cache, key: StepKey, files: Readonly<Record<string, string>>): Promise<string> {
  const stage = await cache.stage();
  for (const [name, text] of Object.entries(files)) {
    await mkdir(join(stage.files, name, ".."), { recursive: true });
    await writeFile(join(stage.files, name), text);
  }
  return (await cache.publish(key, stage, { facts: { n: 1 }, seconds: 1.5, peak_bytes: null })).dir;
}

const entryOf = (cache: Cache): string => join(cache.dir, "steps", "graph", KEY.key.slice(0, 2), KEY.key, "entry.json");

describe("the key of a step", () => {
  it("does not depend on the order that its inputs are written in, and on each of their values", () => {
    const a = stepKey("engine", { b: { x: 1, y: [1, 2] }, a: "z", none: undefined });
    expect(stepKey("engine", { a: "z", b: { y: [1, 2], x: 1 } })).toEqual(a);
    for (const other of [
      { a: "z", b: { y: [2, 1], x: 1 } },
      { a: "z", b: { y: [1, 2] } },
      { a: "Z", b: { x: 1, y: [1, 2] } },
    ])
      expect(stepKey("engine", other).key).not.toBe(a.key);
    expect(stepKey("graph", { a: "z", b: { y: [1, 2], x: 1 } }).key).not.toBe(a.key);
  });
});

describe("the step cache", () => {
  it("gives back what was published, to other processes too", async () => {
    const dir = await work.dir();
    const cache = await Cache.open(dir);
    expect(await cache.find(KEY)).toEqual({ state: "absent" });
    await publish(cache, KEY, { "a.txt": "one", "sub/b.txt": "" });
    await cache.close();
    const found = await (await Cache.open(dir)).find(KEY);
    expect(found).toMatchObject({
      state: "found",
      entry: { facts: { n: 1 }, seconds: 1.5, inputs: { onnx_sha256: "x" } },
    });
    if (found.state !== "found") return;
    expect(found.entry.files.map(({ path, size }) => [path, size])).toEqual([
      ["a.txt", 3],
      ["sub/b.txt", 0],
    ]);
    expect(await readFile(join(found.dir, "a.txt"), "utf8")).toBe("one");
  });

  it.each([
    ["a file is missing", (dir: string) => rm(join(dir, "a.txt")), /a\.txt is missing/],
    ["a file is shorter", (dir: string) => truncate(join(dir, "a.txt"), 1), /a\.txt has 1 bytes instead of 3/],
    ["a file has other bytes", (dir: string) => writeFile(join(dir, "a.txt"), "two"), /a\.txt has other bytes/],
    [
      "a file became a directory",
      async (dir: string) => {
        await rm(join(dir, "a.txt"));
        await mkdir(join(dir, "a.txt"));
      },
      /a\.txt is missing/,
    ],
  ])("takes a result for damaged when %s", async (_, damage, reason) => {
    const cache = await Cache.open(await work.dir());
    await damage(await publish(cache, KEY, { "a.txt": "one" }));
    expect(await cache.find(KEY)).toEqual({ state: "damaged", reason: expect.stringMatching(reason) });
    // Made again, it is whole.
    await publish(cache, KEY, { "a.txt": "one" });
    expect(await cache.find(KEY)).toMatchObject({ state: "found" });
  });

  it.each([
    ["cut", (text: string) => text.slice(0, -20)],
    ["empty", () => ""],
    ["no JSON", () => "\u0000\u0001"],
    ["of another step", (text: string) => text.replaceAll(KEY.key, "0".repeat(64))],
    ["of another format", (text: string) => text.replace('"format":1', '"format":2')],
    ["changed in a fact", (text: string) => text.replace('"n":1', '"n":2')],
    ["leading out of its folder", (text: string) => text.replace("a.txt", "../../../../format.json")],
  ])("takes a result for damaged whose entry.json is %s", async (_, change) => {
    const cache = await Cache.open(await work.dir());
    await publish(cache, KEY, { "a.txt": "one" });
    await writeFile(entryOf(cache), change(await readFile(entryOf(cache), "utf8")));
    expect((await cache.find(KEY)).state).toBe("damaged");
  });

  it("keeps the first result when two processes publish the same step", async () => {
    const dir = await work.dir();
    const [one, two] = [await Cache.open(dir), await Cache.open(dir)];
    const [a, b] = await Promise.all([publish(one, KEY, { "a.txt": "one" }), publish(two, KEY, { "a.txt": "one" })]);
    expect(a).toBe(b);
    expect(await one.find(KEY)).toMatchObject({ state: "found" });
    expect(await readdir(join(dir, "stages"))).toEqual([]);
  });

  it("removes what a killed process left, and nothing of one that runs", async () => {
    const dir = await work.dir();
    const cache = await Cache.open(dir);
    const mine = await cache.stage();
    const own = await thisOwner();
    const dead = stageName({ ...own, pid: 2 ** 22 + 1 });
    const reused = stageName({ ...own, started: "1" });
    const far = stageName({ ...own, host: "elsewhere", pid: 2 ** 22 + 1 });
    for (const name of [dead, reused, far]) await mkdir(join(dir, "stages", name));
    await Cache.open(dir);
    expect((await readdir(join(dir, "stages"))).toSorted()).toEqual([mine.dir.split("/").at(-1), far].toSorted());
  });

  it("refuses a directory with files of somebody else, and one of another format", async () => {
    const dir = await work.dir();
    await writeFile(join(dir, "thesis.tex"), "");
    await expect(Cache.open(dir)).rejects.toThrow(/MTX007.*thesis\.tex/s);
    const other = await work.dir();
    await writeFile(join(other, "format.json"), '{"kind":"mmtrt-cache","format":2}');
    await expect(Cache.open(other)).rejects.toThrow(/MTX007.*format 2/s);
  });

  it("collects by age and by size, the ones used longest ago first, and nothing that is being made or was just used", async () => {
    const cache = await Cache.open(await work.dir());
    const keys = [1, 2, 3, 4].map(step => stepKey("graph", { step }));
    const day = 24 * 3_600_000;
    const now = Date.now();
    for (const [i, key] of keys.entries()) {
      const files = await publish(cache, key, { f: "x".repeat(100) });
      const used = new Date(now - (10 - 3 * i) * day);
      await utimes(join(files, "..", "entry.json"), used, used);
    }
    const kept = async (): Promise<readonly unknown[]> =>
      (await listEntries(cache)).map(({ entry }) => entry?.inputs.step);
    await collect(cache, { maxAgeMs: 8 * day }, now);
    expect(await kept()).toEqual([2, 3, 4]);
    const lock = await cache.locks.tryAcquire(`graph-${keys[1]?.key}`);
    await collect(cache, { maxBytes: 200 }, now);
    expect(await kept()).toEqual([2, 4]);
    if ("release" in lock) await lock.release();
    await cache.find(keys[3] as StepKey);
    await collect(cache, { maxBytes: 0 }, now);
    expect(await kept()).toEqual([4]);
  });

  it("verifies every byte, also of a file that was changed behind the memo's back", async () => {
    const cache = await Cache.open(await work.dir());
    const files = await publish(cache, KEY, { "a.txt": "one" });
    const { atime, mtime } = await stat(join(files, "a.txt"));
    await writeFile(join(files, "a.txt"), "two");
    await utimes(join(files, "a.txt"), atime, mtime);
    const verify = (repair: boolean): ReturnType<typeof verifyEntries> =>
      verifyEntries(cache, { repair, signal: NONE, onEntry: () => undefined });
    expect((await verify(true)).damaged).toMatchObject([{ kind: "graph", key: KEY.key }]);
    expect(await verify(false)).toMatchObject({ entries: 0, damaged: [] });
  });
});

describe("the memo of hashes", () => {
  it("knows a file under every name, and notices another size, time or file", async () => {
    const dir = await work.dir();
    const memo = await HashMemo.load(join(dir, "memo.json"));
    const file = join(dir, "a");
    const old = new Date("2020-01-01");
    const write = async (text: string): Promise<void> => {
      await writeFile(file, text);
      await utimes(file, old, old);
    };
    await write("one");
    const first = await memo.hash(file);
    await link(file, join(dir, "b"));
    await rename(file, join(dir, "c"));
    expect(await memo.hash(join(dir, "b"))).toEqual(first);
    await write("two");
    expect((await memo.hash(file))?.sha256).not.toBe(first?.sha256);
    await memo.save();
    const again = await HashMemo.load(join(dir, "memo.json"));
    expect(await again.hash(join(dir, "c"))).toEqual(first);
  });

  it("hashes a file again that was written a moment ago: its time may not change at the next write", async () => {
    const dir = await work.dir();
    const file = join(dir, "a");
    const memo = await HashMemo.load(join(dir, "memo.json"));
    await writeFile(file, "one");
    const { atime, mtime } = await stat(file);
    const first = await memo.hash(file);
    await writeFile(file, "two");
    await utimes(file, atime, mtime);
    expect((await memo.hash(file))?.sha256).not.toBe(first?.sha256);
  });

  it.each(["", "[]", '{"format":1,"files":{"1:2":["x"]}}', '{"format":9,"files":{}}'])(
    "begins anew with a file of another form: %s",
    async text => {
      const dir = await work.dir();
      await writeFile(join(dir, "memo.json"), text);
      await writeFile(join(dir, "a"), "one");
      const memo = await HashMemo.load(join(dir, "memo.json"));
      expect((await memo.hash(join(dir, "a")))?.size).toBe(3);
      expect(await memo.hash(join(dir, "none"))).toBeUndefined();
    },
  );
});

describe("a lock", () => {
  const isHeld = (lock: object): boolean => !("release" in lock);

  it("has one holder among many who ask at once", async () => {
    const dir = await work.dir();
    const asked = await Promise.all(Array.from({ length: 19 }, () => new Locks(dir).tryAcquire("k")));
    expect(asked.filter(lock => !isHeld(lock))).toHaveLength(1);
    const [mine] = asked.filter(lock => "release" in lock);
    if (mine !== undefined && "release" in mine) await mine.release();
    expect(await readdir(dir)).toEqual([]);
    expect(isHeld(await new Locks(dir).tryAcquire("k"))).toBe(false);
  });

  it("of a process of this machine that is gone is taken over at once, by one", async () => {
    const dir = await work.dir();
    const dead = { ...(await thisOwner()), pid: 2 ** 22 + 1, token: "t" };
    await writeFile(join(dir, "k.lock"), JSON.stringify(dead));
    const asked = await Promise.all(Array.from({ length: 7 }, () => new Locks(dir).tryAcquire("k")));
    expect(asked.filter(lock => !isHeld(lock))).toHaveLength(1);
  });

  it("of a process whose number a later one has is taken over", async () => {
    const dir = await work.dir();
    await writeFile(join(dir, "k.lock"), JSON.stringify({ ...(await thisOwner()), started: "1", token: "t" }));
    expect(isHeld(await new Locks(dir).tryAcquire("k"))).toBe(false);
  });

  it.each([
    ["of another machine", JSON.stringify({ host: "elsewhere", pid: 1, started: "", token: "t" })],
    ["that is half written", '{"host":"else'],
  ])("%s is taken over when its time has stood still for long by the watcher's clock", async (_, text) => {
    const dir = await work.dir();
    const file = join(dir, "k.lock");
    await writeFile(file, text);
    let now = 0;
    const locks = new Locks(dir, { beatMs: 10, staleMs: 1000 }, () => now);
    // The clock of the other machine is years off: it does not matter.
    const beat = (year: string): Promise<void> => utimes(file, new Date(year), new Date(year));
    await beat("1999-01-01");
    expect(isHeld(await locks.tryAcquire("k"))).toBe(true);
    now = 900;
    await beat("1999-01-02");
    expect(isHeld(await locks.tryAcquire("k"))).toBe(true);
    now = 1800;
    expect(isHeld(await locks.tryAcquire("k"))).toBe(true);
    now = 1900;
    expect(isHeld(await locks.tryAcquire("k"))).toBe(false);
  });

  it("that was taken over in the meantime is not removed by its first holder", async () => {
    const dir = await work.dir();
    const lock = await new Locks(dir).tryAcquire("k");
    const other = JSON.stringify({ host: "elsewhere", pid: 1, started: "", token: "theirs" });
    await writeFile(join(dir, "k.lock"), other);
    if ("release" in lock) await lock.release();
    expect(await readFile(join(dir, "k.lock"), "utf8")).toBe(other);
  });
});
