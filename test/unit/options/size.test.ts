import { Ajv2020 } from "ajv/dist/2020.js";
import { describe, expect, it } from "vitest";
import type { OptionSpec } from "../../../src/options/define.ts";
import { optionSchema } from "../../../src/options/schema.ts";
import { checkData, parseText, placeholderOf, sizeBytes } from "../../../src/options/value.ts";

const SPEC: OptionSpec = { type: "size", about: "Memory of a builder." };
const GIB = 1024 ** 3;

describe("a size", () => {
  it.each([
    ["24", 24 * GIB],
    ["24GiB", 24 * GIB],
    ["24 GiB", 24 * GIB],
    ["24g", 24 * GIB],
    [".5T", 512 * GIB],
    ["1.5TiB", 1536 * GIB],
    ["24GB", 24e9],
    ["989MB", 989e6],
    ["989MiB", 989 * 1024 ** 2],
    ["19k", 19 * 1024],
    ["1073741825B", GIB + 1],
  ])("%s is %d bytes", (text, bytes) => {
    expect(sizeBytes(text)).toBe(bytes);
    // The text is kept: it goes into command lines and files again, where a number of bytes would be GiB.
    expect(parseText(SPEC, text)).toEqual({ ok: true, value: text });
  });

  it.each(["", "GiB", "-1", "0", "0.1B", "1e9", "24 PiB", "24GiBs", "1,5G", "99999999T", "Infinity", "0x10"])(
    "%j is none, and the answer shows what one looks like",
    text => {
      expect(sizeBytes(text)).toBeUndefined();
      expect(parseText(SPEC, text)).toMatchObject({ ok: false, expected: expect.stringContaining("24GiB") });
    },
  );

  it("is a number of GiB or a text in YAML, and the JSON Schema takes no other text", () => {
    expect(checkData(SPEC, 19)).toEqual({ ok: true, value: "19" });
    expect(checkData(SPEC, true)).toMatchObject({ ok: false });
    const validate = new Ajv2020().compile(optionSchema(SPEC));
    expect([19, 0.5, "24GiB", "800M", "24"].map(value => validate(value))).toEqual(Array(5).fill(true));
    expect([0, -1, "24 apples", "", true, null].map(value => validate(value))).toEqual(Array(6).fill(false));
    expect(placeholderOf(SPEC)).toBe("SIZE");
  });
});
