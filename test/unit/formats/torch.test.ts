import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { FilePool } from "../../../src/formats/file.ts";
import { openTorch } from "../../../src/formats/torch.ts";
import { withoutChecksums } from "../../support/hostile/reader.ts";
import { contents, expectedOf, FIXTURES, problemsOf, put, tempDir } from "./fixtures.ts";

const pool = new FilePool();
afterAll(() => pool.close());
const open = (name: string): ReturnType<typeof openTorch> => openTorch(pool, join(FIXTURES, name));

describe("PyTorch files", () => {
  it.each([
    "dtypes.bin",
    "legacy.bin",
    "protocol3.bin",
    "protocol4.bin",
    "protocol5.bin",
    "module.bin",
    "parameters.bin",
    "strided.bin",
    "strided-legacy.bin",
  ])("gives the bytes that PyTorch saved in %s", async name => {
    expect(await contents(await open(name))).toEqual(expectedOf(name));
  });

  it("gives strided tensors in bands of any number of rows", async () => {
    for (const band of [1, 2, 3])
      expect(await contents(await open("strided.bin"), band)).toEqual(expectedOf("strided.bin"));
  });

  it("copies a contiguous tensor as a range of the file, and a transposed one not", async () => {
    const tensors = await open("strided.bin");
    const range = tensors.get("rows")?.range;
    const file = await readFile(join(FIXTURES, "strided.bin"));
    expect(range && file.subarray(range.offset, range.offset + range.length).toString("base64")).toBe(
      expectedOf("strided.bin").rows?.bytes,
    );
    expect(tensors.get("transposed")?.range).toBeUndefined();
  });

  it("finds the weights of a training checkpoint and leaves the optimizer out", async () => {
    expect(await contents(await open("training.pt"))).toEqual(expectedOf("training.pt"));
  });

  it("joins nested dicts and lists with dots", async () => {
    expect(await contents(await open("nested.bin"))).toEqual(expectedOf("nested.bin"));
  });
});

describe("PyTorch files that must not be read", () => {
  it.each(["evil.bin", "evil-legacy.bin"])(
    "refuses the command in %s by name and byte, and does not run it",
    async name => {
      const problems = await problemsOf(() => open(name));
      const at = Number(/byte (\d+)\)/.exec(problems)?.[1]);
      expect(problems).toMatch(/^CKP014 .*\b(posix|nt)\.system\b/);
      const file = await readFile(join(FIXTURES, name));
      // The byte named is that of the opcode which brings the command in: GLOBAL, text, newline, text.
      expect(file.subarray(at, at + 14).toString("latin1")).toBe("cposix\nsystem\n");
    },
  );

  it("refuses a whole module, naming its class", async () => {
    expect(await problemsOf(() => open("whole-module.bin"))).toMatch(
      /CKP014 .*torch\.nn\.modules\.container\.Sequential/,
    );
  });

  it("refuses an archive that was compressed", async () => {
    expect(await problemsOf(() => open("compressed.bin"))).toMatch(/CKP012 .*data\.pkl.* is compressed/);
  });

  it("refuses a pickle that PyTorch did not write", async () => {
    expect(await problemsOf(() => open("plain.pickle"))).toMatch(/CKP012 .*magic number/);
  });

  it("refuses a pickle that is small as a file and large in memory", async () => {
    const file = Buffer.concat([
      await readFile(join(FIXTURES, "legacy.bin")).then(b => b.subarray(0, 137)),
      Buffer.alloc(2_100_000, "}"),
    ]);
    expect(await problemsOf(async () => openTorch(pool, await put(await tempDir(), "x.bin", file)))).toMatch(
      /CKP013 .*more than 200000 dicts/,
    );
  });

  it("names the place where a file was cut short", async () => {
    const dir = await tempDir();
    const zip = await readFile(join(FIXTURES, "dtypes.bin"));
    expect(await problemsOf(async () => openTorch(pool, await put(dir, "zip.bin", zip.subarray(0, 3000))))).toMatch(
      /CKP012 .*cut short/,
    );
    const legacy = await readFile(join(FIXTURES, "legacy.bin"));
    const cut = await put(dir, "legacy.bin", legacy.subarray(0, legacy.length - 5));
    expect(await problemsOf(() => openTorch(pool, cut))).toMatch(/CKP005 .*expected from byte \d+/);
  });

  it("refuses a pickle with one byte changed, and reads it where torch was told to leave checksums out", async () => {
    const [dir, whole] = [await tempDir(), await readFile(join(FIXTURES, "parameters.bin"))];
    const changed = Buffer.from(whole);
    const at = changed.indexOf("weight");
    changed.write("W", at);
    expect(await problemsOf(async () => openTorch(pool, await put(dir, "changed.bin", changed)))).toMatch(
      /CKP012 .*data\.pkl.*checksum differs/,
    );
    const tensors = await openTorch(pool, await put(dir, "unchecked.bin", withoutChecksums(whole)));
    expect([...tensors.keys()]).toEqual([...(await openTorch(pool, join(FIXTURES, "parameters.bin"))).keys()]);
  });

  it("refuses a tensor that reaches outside its storage", async () => {
    const dir = await tempDir();
    const file = withoutChecksums(await readFile(join(FIXTURES, "parameters.bin")));
    // The pickle gives the first weight as sizes (5, 3), opcodes K 5 K 3; 6 rows are more than its storage has.
    const at = file.indexOf(Buffer.from([0x4b, 5, 0x4b, 3]));
    file[at + 1] = 6;
    expect(await problemsOf(async () => openTorch(pool, await put(dir, "large.bin", file)))).toMatch(
      /CKP015 tensor 0\.weight: float32 \[6, 3\].*60 bytes/,
    );
  });
});
