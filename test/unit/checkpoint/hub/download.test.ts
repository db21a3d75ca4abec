import { createHash } from "node:crypto";
import {
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { download, type HubRequest, type Snapshot } from "../../../../src/checkpoint/hub/download.ts";
import { MmtrtError } from "../../../../src/diagnostics/index.ts";
import { gitHash, HubStandIn, type StandInRepo } from "../../../support/hub.ts";

const COMMIT = "19891989198919891989198919891989198919ab";
const LATER = "c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff";
const text = (content: string): Uint8Array => new TextEncoder().encode(content);
/** Bytes without a pattern that a shifted copy would share. */
const noise = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 7919 + (i >> 5) * 31) & 255);

const WEIGHTS = noise(98_989);
const SIMPLE: StandInRepo = {
  commit: COMMIT,
  refs: { main: COMMIT, "v1.0": COMMIT },
  files: {
    "config.json": text('{"model_type": "llama"}\n'),
    "generation_config.json": text("{}\n"),
    "tokenizer.json": noise(1989),
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": noise(70_001),
    "model.fp16.onnx": noise(5000),
    "README.md": text("# a model"),
    "modeling_custom.py": text("print('never fetched')"),
    "images/cat.png": noise(1100),
  },
};

let hub: HubStandIn;
let dir: string;
let pauses: number[];

beforeEach(async () => {
  hub = await HubStandIn.start();
  dir = mkdtempSync(join(tmpdir(), "mmtrt-hub-"));
  pauses = [];
  hub.repos.set("org/simple", SIMPLE);
});
afterEach(async () => {
  await hub.close();
  rmSync(dir, { recursive: true, force: true });
});

interface Change extends Partial<Omit<HubRequest, "settings" | "name">> {
  readonly revision?: string;
  readonly token?: string;
  readonly offline?: boolean;
  readonly endpoint?: string;
  readonly stallMs?: number;
}

function get(repo = "org/simple", change: Change = {}): Promise<Snapshot> {
  const { revision, token, offline = false, endpoint = hub.endpoint, stallMs = 20_000, ...rest } = change;
  return download({
    name: { repo, revision },
    settings: { endpoint, token, cacheDir: dir, offline, stallMs },
    signal: new AbortController().signal,
    pause: async ms => void pauses.push(ms),
    ...rest,
  });
}

async function codesOf(work: Promise<unknown>): Promise<readonly string[]> {
  return work.then(
    () => [],
    (error: unknown) => {
      if (error instanceof MmtrtError) return error.problems.map(({ code }) => code);
      throw error;
    },
  );
}

const blobs = (): readonly string[] => readdirSync(join(dir, "models--org--simple/blobs")).sort();
const filesAsked = (): readonly string[] =>
  hub.takeSeen().flatMap(({ server, path }) => (server === "hub" && path.includes("/resolve/") ? [path] : []));

describe("a download", () => {
  it("brings the files that a conversion reads and no others, as the Hub's Python package lays them out", async () => {
    const { dir: snapshot, commit, warnings } = await get();
    expect([commit, warnings]).toEqual([COMMIT, []]);
    expect(snapshot).toBe(join(dir, "models--org--simple/snapshots", COMMIT));
    expect(readdirSync(snapshot).sort()).toEqual([
      "config.json",
      "generation_config.json",
      "model.safetensors",
      "tokenizer.json",
    ]);
    expect(readFileSync(join(dir, "models--org--simple/refs/main"), "utf8")).toBe(COMMIT);
    // `git hash-object` of the file's 24 bytes, which names the blob.
    expect(readlinkSync(join(snapshot, "config.json"))).toBe("../../blobs/9eddb62b076f586b2186445e7872e5a05f0dfe06");
    expect(new Uint8Array(readFileSync(join(snapshot, "model.safetensors")))).toEqual(WEIGHTS);
    expect(blobs().filter(name => /partial|lock/.test(name))).toEqual([]);
  });

  it("fetches nothing twice, and the new files alone when a branch moves", async () => {
    await get();
    filesAsked();
    await get();
    expect(filesAsked()).toEqual([]);
    const files = { ...SIMPLE.files, "generation_config.json": text('{"do_sample": true}\n') };
    hub.repos.set("org/simple", { commit: LATER, refs: { main: LATER }, files });
    const { dir: snapshot } = await get();
    expect(filesAsked()).toEqual([`/org/simple/resolve/${LATER}/generation_config.json`]);
    expect(readFileSync(join(snapshot, "generation_config.json"), "utf8")).toBe('{"do_sample": true}\n');
    expect(readFileSync(join(dir, "models--org--simple/refs/main"), "utf8")).toBe(LATER);
  });

  it("takes tags and commits, and says which revisions there are not", async () => {
    expect(await get("org/simple", { revision: "v1.0" })).toMatchObject({ revision: "v1.0", commit: COMMIT });
    expect(existsSync(join(dir, "models--org--simple/refs/v1.0"))).toBe(true);
    expect(await get("org/simple", { revision: COMMIT })).toMatchObject({ revision: COMMIT, commit: COMMIT });
    expect(await codesOf(get("org/simple", { revision: "v2" }))).toEqual(["HUB001"]);
    expect(await codesOf(get("org/simple", { revision: LATER }))).toEqual(["HUB001"]);
  });

  it("reads listings of several pages", async () => {
    hub.pageSize = 2;
    expect(readdirSync((await get()).dir)).toHaveLength(4);
    expect(hub.takeSeen().filter(({ path }) => path.includes("/tree/"))).toHaveLength(5);
  });

  it("fetches the shards that the index names, and one blob for files with the same bytes", async () => {
    const shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    const index = text(JSON.stringify({ weight_map: { a: shards[0], b: shards[1], c: shards[0] } }));
    const { "model.safetensors": _, ...rest } = SIMPLE.files;
    const files = { ...rest, "model.safetensors.index.json": index, [shards[0]!]: WEIGHTS, [shards[1]!]: WEIGHTS };
    hub.repos.set("org/simple", { ...SIMPLE, files: { ...files, "model-00003-of-00002.safetensors": noise(3000) } });
    const { dir: snapshot } = await get();
    expect(readdirSync(snapshot)).toEqual(expect.arrayContaining(shards));
    expect(existsSync(join(snapshot, "model-00003-of-00002.safetensors"))).toBe(false);
    expect(filesAsked().filter(path => path.includes("-of-"))).toHaveLength(1);
  });

  it("of a model in folders brings each folder's files", async () => {
    const part = (name: string): Record<string, Uint8Array> => ({
      [`${name}/config.json`]: text(`{"part": "${name}"}`),
      [`${name}/model.safetensors`]: noise(2000 + name.length),
      [`${name}/notes.txt`]: text("no"),
    });
    const config = text('{"llm_cfg": {}, "vision_tower_cfg": {}, "mm_projector_cfg": {}}');
    hub.repos.set("org/vila", {
      commit: COMMIT,
      refs: { main: COMMIT },
      files: { "config.json": config, ...part("llm"), ...part("vision_tower"), ...part("mm_projector") },
    });
    const { dir: snapshot } = await get("org/vila");
    expect(readdirSync(snapshot, { recursive: true }).sort()).toEqual(
      ["config.json", "llm", "mm_projector", "vision_tower"]
        .flatMap(name => (name.endsWith("json") ? [name] : [name, `${name}/config.json`, `${name}/model.safetensors`]))
        .sort(),
    );
    expect(readlinkSync(join(snapshot, "llm/config.json"))).toMatch(/^\.\.\/\.\.\/\.\.\/blobs\//);
  });

  it("of the config alone fetches one file", async () => {
    const { dir: snapshot } = await get("org/simple", { configOnly: true });
    expect(readdirSync(snapshot)).toEqual(["config.json"]);
  });

  it("takes pickles only where there is nothing else, and says so", async () => {
    const { "model.safetensors": _, ...files } = SIMPLE.files;
    hub.repos.set("org/simple", { ...SIMPLE, files });
    const { dir: snapshot, warnings } = await get();
    expect(readdirSync(snapshot)).toContain("pytorch_model.bin");
    expect(warnings.map(({ code, what }) => [code, what])).toEqual([
      ["HUB009", "org/simple has no safetensors: its weights are the pickle pytorch_model.bin"],
    ]);
  });

  it("says of a repository without a model what it lacks, and fetches none of it", async () => {
    hub.repos.set("org/lora", { ...SIMPLE, files: { "adapter_model.safetensors": noise(1000) } });
    await expect(get("org/lora")).rejects.toThrow(/CKP019.*org\/lora is not a checkpoint/);
    expect(filesAsked()).toEqual([]);
  });

  it("shows bytes that come, from none to all", async () => {
    const seen: [number, number][] = [];
    await get("org/simple", { onProgress: ({ done, total }) => void seen.push([done, total]) });
    const total = ["generation_config.json", "tokenizer.json", "model.safetensors"]
      .map(name => SIMPLE.files[name]!.byteLength)
      .reduce((a, b) => a + b);
    expect(seen.at(-1)).toEqual([total, total]);
    expect(seen.every(([done], i) => i === 0 || done >= seen[i - 1]![0])).toBe(true);
  });
});

describe("an interrupted download", () => {
  const ranges = (): readonly (string | undefined)[] =>
    hub.takeSeen().flatMap(({ server, range, path }) => (server === "storage" && isWeights(path) ? [range] : []));
  const isWeights = (path: string): boolean => path.endsWith(WEIGHTS_SHA);
  const WEIGHTS_SHA = shaOf(WEIGHTS);

  it("goes on by itself from the byte where the connection broke", async () => {
    hub.faults.push({ on: WEIGHTS_SHA, cutAfter: 40_000 }, { on: WEIGHTS_SHA, cutAfter: 19 });
    const { dir: snapshot } = await get();
    expect(new Uint8Array(readFileSync(join(snapshot, "model.safetensors")))).toEqual(WEIGHTS);
    const asked = ranges();
    expect(asked[0]).toBeUndefined();
    expect(asked.at(-1)).toMatch(/^bytes=\d+-$/);
    expect(pauses.length).toBeGreaterThan(0);
  });

  it("leaves what came, and the next run asks for the rest", async () => {
    hub.faults.push(...Array.from({ length: 6 }, () => ({ on: WEIGHTS_SHA, status: 503 })));
    expect(await codesOf(get())).toEqual(["HUB003"]);
    expect(pauses).toEqual([1000, 2000, 4000, 8000, 16_000]);
    const partial = join(dir, "models--org--simple/blobs", `${WEIGHTS_SHA}.partial`);
    writeFileSync(partial, WEIGHTS.subarray(0, 50_001));
    ranges();
    const seen: number[] = [];
    const { dir: snapshot } = await get("org/simple", { onProgress: ({ total }) => void seen.push(total) });
    expect(ranges()).toEqual(["bytes=50001-"]);
    expect(seen.at(-1)).toBe(WEIGHTS.byteLength - 50_001);
    expect(new Uint8Array(readFileSync(join(snapshot, "model.safetensors")))).toEqual(WEIGHTS);
    expect(existsSync(partial)).toBe(false);
  });

  it("that has all bytes but not the name needs no request", async () => {
    await get();
    const blob = join(dir, "models--org--simple/blobs", WEIGHTS_SHA);
    writeFileSync(`${blob}.partial`, WEIGHTS);
    rmSync(blob);
    ranges();
    await get();
    expect(ranges()).toEqual([]);
    expect(statSync(blob).size).toBe(WEIGHTS.byteLength);
  });

  it("whose bytes were damaged, or longer than the file, begins anew", async () => {
    await get();
    const blob = join(dir, "models--org--simple/blobs", WEIGHTS_SHA);
    for (const left of [noise(60_000).map(byte => byte ^ 1), noise(WEIGHTS.byteLength + 1)]) {
      rmSync(blob);
      writeFileSync(`${blob}.partial`, left);
      await get();
      expect(new Uint8Array(readFileSync(blob))).toEqual(WEIGHTS);
    }
  });

  it("works with a server that knows no ranges", async () => {
    hub.faults.push({ on: WEIGHTS_SHA, cutAfter: 30_000 }, { on: WEIGHTS_SHA, whole: true });
    const { dir: snapshot } = await get();
    expect(new Uint8Array(readFileSync(join(snapshot, "model.safetensors")))).toEqual(WEIGHTS);
  });

  it("is given up and tried again when no byte comes", async () => {
    hub.faults.push({ on: WEIGHTS_SHA, stallAfter: 10_000 });
    const { dir: snapshot } = await get("org/simple", { stallMs: 150 });
    expect(new Uint8Array(readFileSync(join(snapshot, "model.safetensors")))).toEqual(WEIGHTS);
  });

  it("stops at once when the user says so, and keeps what came", async () => {
    const stop = new AbortController();
    hub.faults.push({ on: WEIGHTS_SHA, stallAfter: 10_000 });
    const running = get("org/simple", {
      signal: stop.signal,
      onProgress: ({ done }) => done >= 10_000 && stop.abort(new Error("stopped")),
    });
    await expect(running).rejects.toThrow("stopped");
    const partial = join(dir, "models--org--simple/blobs", `${WEIGHTS_SHA}.partial`);
    expect(new Uint8Array(readFileSync(partial))).toEqual(WEIGHTS.subarray(0, statSync(partial).size));
    expect(blobs().filter(name => name.endsWith(".lock"))).toEqual([]);
  });

  it("whose blob in the cache was cut short is fetched again", async () => {
    await get();
    truncateSync(join(dir, "models--org--simple/blobs", WEIGHTS_SHA), 5);
    const { dir: snapshot } = await get();
    expect(statSync(join(snapshot, "model.safetensors")).size).toBe(WEIGHTS.byteLength);
  });
});

describe("a download that cannot be", () => {
  it("of damaged bytes is tried twice, named and thrown away, for large and small files", async () => {
    const sha = shaOf(WEIGHTS);
    hub.faults.push({ on: sha, flip: true }, { on: sha, flip: true });
    await expect(get()).rejects.toThrow(
      /HUB004.*model\.safetensors of org\/simple arrives damaged: 98989 bytes with /s,
    );
    expect(blobs().filter(name => name.startsWith(sha))).toEqual([]);
    rmSync(join(dir, "models--org--simple"), { recursive: true });
    hub.faults.push({ on: "/config.json", flip: true }, { on: "/config.json", flip: true });
    await expect(get()).rejects.toThrow(/HUB004.*git's SHA-1/s);
  });

  it("of a private model needs the token, which storage never sees", async () => {
    hub.repos.set("org/simple", { ...SIMPLE, token: "hf_secret" });
    await expect(get()).rejects.toThrow(/HUB001.*or it is private.*HF_TOKEN/s);
    await expect(get("org/simple", { token: "hf_other" })).rejects.toThrow(/HUB001.*the token may not see it/s);
    hub.takeSeen();
    await get("org/simple", { token: "hf_secret" });
    const seen = hub.takeSeen();
    expect(new Set(seen.flatMap(({ server, token }) => (server === "hub" ? [token] : [])))).toEqual(
      new Set(["Bearer hf_secret"]),
    );
    expect(seen.filter(({ server }) => server === "storage").map(({ token }) => token)).toEqual([undefined, undefined]);
  });

  it("of a gated model says where its terms are", async () => {
    hub.repos.set("org/simple", { ...SIMPLE, token: "hf_friend", gated: true });
    await expect(get()).rejects.toThrow(/HUB002.*org\/simple is gated: Access to model .*then set HF_TOKEN/s);
    await expect(get("org/simple", { token: "hf_other" })).rejects.toThrow(
      new RegExp(`HUB002.*accept the terms on ${hub.endpoint}/org/simple, with the account`, "s"),
    );
  });

  it("with a token that is refused says so and not that the model is missing", async () => {
    hub.faults.push({ on: "/api/models/", status: 401 });
    await expect(get("org/simple", { token: "hf_expired" })).rejects.toThrow(/HUB002.*refuses the token.*401/s);
  });

  it("without a network uses a whole copy of the cache with a warning, and nothing else", async () => {
    const endpoint = hub.endpoint;
    await get();
    await hub.close();
    const { warnings, commit } = await get("org/simple", { endpoint });
    expect(commit).toBe(COMMIT);
    expect(warnings.map(({ code, fix }) => [code, fix])).toEqual([["HUB003", `--revision ${COMMIT} says so for good`]]);
    expect((await get("org/simple", { endpoint, revision: COMMIT })).warnings).toEqual([]);
    await expect(get("org/other", { endpoint })).rejects.toThrow(/HUB003.*cannot be reached.*ECONNREFUSED/);
    rmSync(join(dir, "models--org--simple/snapshots", COMMIT, "model.safetensors"));
    expect(await codesOf(get("org/simple", { endpoint }))).toEqual(["HUB003"]);
  });

  it("offline makes no request: the cache does, or says what it lacks", async () => {
    await expect(get("org/simple", { offline: true })).rejects.toThrow(/HUB005.*never downloaded at main/);
    await get();
    hub.takeSeen();
    expect(await get("org/simple", { offline: true })).toMatchObject({ commit: COMMIT, warnings: [] });
    rmSync(join(dir, "models--org--simple/blobs", shaOf(WEIGHTS)));
    await expect(get("org/simple", { offline: true })).rejects.toThrow(/HUB005.*no weights are there/);
    expect(hub.takeSeen()).toEqual([]);
  });

  it("is not begun when the disk is too small", async () => {
    const huge = { type: "file", path: "model.safetensors", size: 133, oid: "0".repeat(40) };
    const lfs = { oid: "e".repeat(64), size: Number.MAX_SAFE_INTEGER, pointerSize: 133 };
    const config = { type: "file", path: "config.json", size: 24, oid: gitHash(SIMPLE.files["config.json"]!) };
    hub.faults.push({ on: "/tree/", body: JSON.stringify([config, { ...huge, lfs }]) });
    await expect(get()).rejects.toThrow(/HUB006.*9007199\.25 GB of org\/simple are to be downloaded/);
  });
});

describe("a busy Hub", () => {
  it("is asked again after a while, three times in all", async () => {
    hub.faults.push(
      { on: "/revision/", status: 503 },
      { on: "/revision/", status: 429 },
      { on: "/tree/", status: 502 },
    );
    expect((await get()).commit).toBe(COMMIT);
    expect(pauses).toEqual([1000, 2000, 1000]);
    hub.faults.push(...Array.from({ length: 3 }, () => ({ on: "/revision/", status: 429 })));
    rmSync(join(dir, "models--org--simple"), { recursive: true });
    await expect(get()).rejects.toThrow(/HUB003.*answers 429 to .*/);
  });
});

describe("a hostile server", () => {
  const entry = { type: "file", size: 5, oid: "0".repeat(40) };
  const listed = (...entries: readonly object[]): Promise<readonly string[]> => {
    hub.faults.push({ on: "/tree/", body: JSON.stringify(entries) });
    return codesOf(get());
  };

  it("writes nothing outside the cache: names that lead elsewhere are no files", async () => {
    const names = ["../config.json", "/config.json", "a/../../config.json", "C:config.json", "a\\config.json", ""];
    expect(await listed(...names.map(path => ({ ...entry, path })))).toEqual(["CKP019"]);
    expect(readdirSync(dir)).toEqual([]);
  });

  it.each([
    ["a size that is none", { ...entry, path: "config.json", size: -1 }],
    ["a hash that is none", { ...entry, path: "config.json", oid: "../../x" }],
    ["a config.json of a terabyte", { ...entry, path: "config.json", size: 1e12 }],
    ["LFS without a hash", { ...entry, path: "config.json", lfs: { size: 4 } }],
  ])("with %s is refused", async (_, file) => {
    expect(await listed(file)).toEqual(["HUB007"]);
  });

  it.each(['{"no": "list"}', "[1, 2", "null", '[{"type": "file"}]'])("that answers %s is refused", async body => {
    hub.faults.push({ on: "/tree/", body });
    expect(await codesOf(get())).toEqual([body.includes("type") ? "CKP019" : "HUB007"]);
  });

  it("that names no commit is refused", async () => {
    hub.faults.push({ on: "/revision/", body: '{"sha": "../../../etc", "lastModified": "2026-09-01"}' });
    expect(await codesOf(get())).toEqual(["HUB007"]);
  });

  it("cannot make an index name files outside the listing", async () => {
    const { "model.safetensors": _, ...rest } = SIMPLE.files;
    const index = text(JSON.stringify({ weight_map: { a: "../../../secret.safetensors" } }));
    hub.repos.set("org/simple", { ...SIMPLE, files: { ...rest, "model.safetensors.index.json": index } });
    expect(await codesOf(get())).toEqual(["CKP019"]);
  });
});

describe("two downloads at once", () => {
  it("fetch each file once between them", async () => {
    const waited: string[] = [];
    const pause = (): Promise<void> => new Promise(resolve => setImmediate(resolve));
    const both = await Promise.all([
      get("org/simple", { pause, onWait: file => void waited.push(file) }),
      get("org/simple", { pause, onWait: file => void waited.push(file) }),
    ]);
    expect(both[0].dir).toBe(both[1].dir);
    const asked = filesAsked();
    expect(new Set(asked).size).toBe(asked.length);
    expect(lstatSync(join(both[0].dir, "model.safetensors")).isSymbolicLink()).toBe(true);
  });

  it("are not stopped by the lock of a process that is gone", async () => {
    await get();
    const blob = join(dir, "models--org--simple/blobs", shaOf(WEIGHTS));
    rmSync(blob);
    // No process has a number as high: Linux stops at 2^22.
    writeFileSync(`${blob}.lock`, JSON.stringify({ host: hostname(), pid: 2 ** 22 + 1989 }));
    await get();
    expect(statSync(blob).size).toBe(WEIGHTS.byteLength);
    expect(existsSync(`${blob}.lock`)).toBe(false);
  });
});

function shaOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
