import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { changesText } from "../../../src/cli/run/profiling.ts";
import type { JsonObject } from "../../../src/formats/json.ts";
import { latency, type ProfileReport } from "../../../src/runtime/profile.ts";
import { compareProfiles, grownTooMuch, readProfile } from "../../../src/runtime/profile-compare.ts";
import { Workspace } from "../../support/pipeline.ts";

const work = new Workspace();
afterAll(() => work.clean());

function report(decode: readonly number[], cache: number, given: Partial<ProfileReport> = {}): ProfileReport {
  return {
    iterations: 1,
    batch_size: 1,
    num_beams: 1,
    prompt_tokens: 19,
    reused_tokens: 0,
    new_tokens: 4,
    max_new_tokens: 4,
    visual_ms: null,
    prefill_ms: latency([10]),
    decode_ms: latency(decode),
    total_ms: latency([20]),
    tokens_per_second: { prefill: 1900, decode: 100, total: 200 },
    memory: { kv_cache: { bytes: 0, peak_bytes: cache }, engines: { bytes: 4096 } },
    ...given,
  };
}

const json = (profile: ProfileReport): JsonObject => JSON.parse(JSON.stringify(profile));

describe("two profiles of one request", () => {
  it("are compared number by number, each with what it has grown by", () => {
    const changes = compareProfiles(report([2, 2, 3], 2048), json(report([2, 2, 2], 1024)), 0.6, "old.json");
    expect(changes.map(({ what, grown, isWorse }) => [what, grown, isWorse])).toEqual([
      ["prefill p50", 0, false],
      ["decode step p50", 0, false],
      ["decode step p90", 0.5, false],
      ["decode step p99", 0.5, false],
      ["whole request p50", 0, false],
      ["memory, kv_cache", 1, true],
      ["memory, engines", 0, false],
    ]);
    expect(changesText(changes, "old.json").split("\n").slice(2)).toEqual([
      "decode step p50    2.00 ms   2.00 ms   +0.0 %",
      "decode step p90    2.00 ms   3.00 ms   +50.0 %",
      "decode step p99    2.00 ms   3.00 ms   +50.0 %",
      "whole request p50  20.00 ms  20.00 ms  +0.0 %",
      "memory, kv_cache   1.00 KiB  2.00 KiB  +100.0 %  worse",
      "memory, engines    4.00 KiB  4.00 KiB  +0.0 %",
    ]);
  });

  it("are a problem past the tolerance alone, and one that names what has grown", () => {
    const changes = (tolerance: number) => compareProfiles(report([3], 1), json(report([2], 1)), tolerance, "old.json");
    expect(grownTooMuch(changes(0.5), 0.5, "--compare")).toBeUndefined();
    expect(grownTooMuch(changes(0.49), 0.49, "--compare")).toMatchObject({
      code: "NUM007",
      what: "has grown by more than 49.0 %: decode step p50 by 50.0 %, decode step p90 by 50.0 %, decode step p99 by 50.0 %",
    });
  });

  it("of another request are refused", () => {
    const old = json(report([2], 1, { batch_size: 2, prompt_tokens: 38 }));
    expect(() => compareProfiles(report([2], 1), old, 1, "old.json")).toThrow(
      /RUN060.*old\.json is of another request: batch_size 2, here 1; prompt_tokens 38, here 19/s,
    );
  });

  it("are read from what --json printed, from a value laid out anew, and from nothing else", async () => {
    const file = join(await work.dir(), "old.json");
    const profile = report([2], 1);
    const events = [
      { event: "info", message: "x" },
      { event: "result", profile },
    ].map(value => JSON.stringify(value));
    for (const text of [events.join("\n"), JSON.stringify({ profile }, null, 2), JSON.stringify(profile)]) {
      await writeFile(file, text);
      expect(await readProfile(file)).toEqual(json(profile));
    }
    for (const [text, words] of [
      ["", /RUN060.*is empty/s],
      ['{"a": 1}', /RUN060.*holds no profile/s],
      ["[1,\n2]", /RUN060.*holds no profile/s],
      ["nonsense", /CKP008/],
    ] as const) {
      await writeFile(file, text);
      await expect(readProfile(file)).rejects.toThrow(words);
    }
    await expect(readProfile(`${file}.none`)).rejects.toThrow(/RUN060.*cannot be read/s);
  });
});
