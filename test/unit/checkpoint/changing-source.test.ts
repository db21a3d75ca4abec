import { appendFile, copyFile, cp, open, readdir, rename, truncate, utimes } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { OutputDir } from "../../../src/checkpoint/output-dir.ts";
import { FilePool } from "../../../src/formats/file.ts";
import { parity } from "../../support/hostile/reader.ts";
import { convertTo, Workspace } from "../../support/pipeline.ts";

const work = new Workspace();
afterAll(() => work.clean());

async function modelCopy(): Promise<string> {
  const model = join(await work.dir(), "model");
  await cp(parity("llava_mqa"), model, { recursive: true });
  return model;
}

const CHANGES: readonly (readonly [string, (file: string) => Promise<unknown>, RegExp])[] = [
  ["replaced by one of the same size", async file => rename(await copyOf(file), file), /CKP065.*was changed/s],
  ["cut", file => truncate(file, 4000), /CKP065|CKP005/],
  ["appended to", file => appendFile(file, "x"), /CKP065/],
  ["written to in its middle", file => overwritten(file, 4000), /CKP065/],
  ["moved away", file => rename(file, `${file}.old`), /CKP065|CKP001/],
];

async function copyOf(file: string): Promise<string> {
  await copyFile(file, `${file}.new`);
  return `${file}.new`;
}

async function overwritten(file: string, at: number): Promise<void> {
  const handle = await open(file, "r+");
  await handle.write(Buffer.alloc(19), 0, 19, at);
  await handle.close();
}

describe("weights that are changed while they are converted", () => {
  it.each(CHANGES)("%s: a problem, and no result", async (_, change, words) => {
    const model = await modelCopy();
    const outputDir = join(await work.dir(), "out");
    let begun: Promise<unknown> | undefined;
    const converted = convertTo(work, model, "auto", {
      outputDir,
      // Once the headers are read and before the first byte of the weights is.
      onProgress: () => {
        begun ??= change(join(model, "model.safetensors"));
      },
    });
    await expect(converted).rejects.toThrow(words);
    await begun;
    expect(await readdir(join(outputDir, ".."))).toEqual([]);
  });

  it("are of another time than the clock's, and are converted once", async () => {
    const model = await modelCopy();
    const outputDir = join(await work.dir(), "out");
    const statuses: string[] = [];
    for (const year of ["1971", "1971", "2100"]) {
      const time = new Date(`${year}-01-01T00:00:00Z`);
      await utimes(join(model, "model.safetensors"), time, time);
      const converted = convertTo(work, model, "auto", { outputDir });
      statuses.push(
        await converted.then(
          () => "whole",
          (error: Error) => error.message.slice(6, 12),
        ),
      );
    }
    // Of another time it is another file: what is there is not overwritten.
    expect(statuses).toEqual(["whole", "whole", "CKP046"]);
  });
});

it("a hard link to a file, as build makes one, does not change it", async () => {
  const dir = await work.dir();
  await copyFile(join(parity("llava_mqa"), "config.json"), join(dir, "a"));
  const pool = new FilePool();
  await pool.open(join(dir, "a"));
  const { link } = await import("node:fs/promises");
  await link(join(dir, "a"), join(dir, "b"));
  expect(await pool.changed()).toEqual([]);
  await pool.close();
});

it("an output that is a link is written where it leads, and one that leads nowhere is refused before anything is read", async () => {
  const dir = await work.dir();
  const { mkdir, symlink } = await import("node:fs/promises");
  await mkdir(join(dir, "disk"));
  await symlink("disk", join(dir, "out"));
  await symlink("nowhere", join(dir, "lost"));
  await convertTo(work, parity("llava_mqa"), "auto", { outputDir: join(dir, "out") });
  expect(await readdir(join(dir, "disk"))).toContain("mmtrt.json");
  const lost = convertTo(work, parity("llava_mqa"), "auto", { outputDir: join(dir, "lost") });
  await expect(lost).rejects.toThrow(/CKP009.*nowhere|CKP009.*lost/s);
  expect((await readdir(dir)).sort()).toEqual(["disk", "lost", "out"]);
});

describe("two that write one output at once", () => {
  it("have one winner, and the other sees whose it is", async () => {
    const out = join(await work.dir(), "out");
    const claims = await Promise.allSettled(["a", "b", "c"].map(key => OutputDir.open(out, key)));
    const won = claims.flatMap(claim => (claim.status === "fulfilled" ? [claim.value as OutputDir] : []));
    const lost = claims.flatMap(claim => (claim.status === "rejected" ? [String(claim.reason)] : []));
    expect([won.length, lost.length]).toEqual([1, 2]);
    for (const reason of lost) expect(reason).toMatch(/CKP047.*is being written by process/s);
    for (const output of won) await output.abandon(false);
    expect(await readdir(join(out, ".."))).toEqual([]);
  });
});
