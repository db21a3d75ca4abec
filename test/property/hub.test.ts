import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { download } from "../../src/checkpoint/hub/download.ts";
import { parseHubName, shownName } from "../../src/checkpoint/hub/name.ts";
import { MmtrtError } from "../../src/diagnostics/index.ts";
import { gitHash, HubStandIn } from "../support/hub.ts";

const COMMIT = "19891989198919891989198919891989198919ab";
const CONFIG = new TextEncoder().encode('{"model_type": "llama"}');
const WEIGHTS = Uint8Array.from({ length: 989 }, (_, i) => i & 255);

let hub: HubStandIn;
let root: string;
beforeAll(async () => {
  hub = await HubStandIn.start();
  hub.repos.set("org/model", {
    commit: COMMIT,
    refs: { main: COMMIT },
    files: { "config.json": CONFIG, "model.safetensors": WEIGHTS },
  });
  root = mkdtempSync(join(tmpdir(), "mmtrt-hub-"));
});
afterAll(async () => {
  await hub.close();
  rmSync(root, { recursive: true, force: true });
});

/** Names outside the cache's one folder, after a download that may have failed as long as it said why. */
async function strays(body: string): Promise<readonly string[]> {
  const dir = mkdtempSync(join(root, "run-"));
  hub.faults.splice(0, hub.faults.length, { on: "/tree/", body });
  await download({
    name: { repo: "org/model", revision: undefined },
    settings: { endpoint: hub.endpoint, token: undefined, cacheDir: join(dir, "cache"), offline: false, stallMs: 5000 },
    signal: new AbortController().signal,
    pause: async () => {},
  }).catch((error: unknown) => {
    if (!(error instanceof MmtrtError)) throw error;
  });
  const found = readdirSync(dir, { recursive: true }).map(String);
  rmSync(dir, { recursive: true });
  return found.filter(path => path !== "cache" && !path.startsWith(join("cache", "models--org--model")));
}

describe("a listing of the Hub", () => {
  const entry = (path: string, bytes: Uint8Array): object => ({
    type: "file",
    path,
    size: bytes.byteLength,
    oid: gitHash(bytes),
  });
  const listing = JSON.stringify([entry("config.json", CONFIG), entry("model.safetensors", WEIGHTS)]);

  it("with any byte changed or its end cut off gives a model or a problem, and no file elsewhere", async () => {
    const change = fc.record({
      at: fc.nat({ max: listing.length - 1 }),
      char: fc.constantFrom(...'"{}[],:/\\.0-9eaZ\u0000 '),
      cut: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(change, async ({ at, char, cut }) => {
        const body = cut ? listing.slice(0, at) : listing.slice(0, at) + char + listing.slice(at + 1);
        expect(await strays(body)).toEqual([]);
      }),
      { numRuns: 60 },
    );
  });

  it("of any JSON is answered in the same way", async () => {
    const wild = fc.oneof(
      fc.json(),
      fc
        .array(fc.record({ type: fc.constant("file"), path: fc.string(), size: fc.integer(), oid: fc.string() }))
        .map(files => JSON.stringify([entry("config.json", CONFIG), ...files])),
    );
    await fc.assert(
      fc.asyncProperty(wild, async body => {
        expect(await strays(body)).toEqual([]);
      }),
      { numRuns: 60 },
    );
  });
});

describe("a name of the Hub", () => {
  it("that is read stays in one folder of the cache and is written as it was", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[\w.-]{1,9}\/[\w.-]{1,9}(@[\w./-]{1,9})?$/)), text => {
        const name = parseHubName(text);
        if (name === undefined) return;
        expect(shownName(name)).toBe(text.startsWith("hf://") && name.repo.includes("/") ? text.slice(5) : text);
        for (const part of [...name.repo.split("/"), ...(name.revision?.split("/") ?? [])])
          expect(["", ".", ".."]).not.toContain(part);
      }),
      { numRuns: 2000 },
    );
  });
});
