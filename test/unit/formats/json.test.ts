import { describe, expect, it } from "vitest";
import { MmtrtError } from "../../../src/diagnostics/index.ts";
import { parseJson, readJson, readJsonObject } from "../../../src/formats/json.ts";
import { problemsOf, put, tempDir } from "./fixtures.ts";

function refused(text: string): string {
  try {
    parseJson(text, "config.json", { maxDepth: 8 });
  } catch (error) {
    if (error instanceof MmtrtError) return `${error.problems[0]?.at} ${error.problems[0]?.what}`;
    throw error;
  }
  throw new Error(`${text} was accepted`);
}

describe("JSON", () => {
  it.each([
    "null",
    " [1, -0.5e+3, 1E2, 0, true, false, null] ",
    '{"a":{"b":[{}]},"":"","\\u00e9\\n\\"\\/\\ud83d\\ude00":"漢字"}',
    '{"__proto__":{"x":1},"constructor":2}',
    "1e400",
  ])("reads %s as JavaScript does", text => {
    const value = parseJson(text, "x.json");
    expect(value).toEqual(JSON.parse(text));
    expect(Object.getPrototypeOf(Object(value))).toBe(Object.getPrototypeOf(Object(JSON.parse(text))));
  });

  it.each([
    ['{\n  "a": 1,\n  "b": tru\n}', /^config\.json:3:8 .*a value is expected/],
    ['{\n  "hidden_size": 40', /^config\.json:2:20 .*',' or '}' is expected \(the file ends here\)/],
    ['{"a": "x', /^config\.json:1:9 .*ends inside a string/],
    ['{"a": 1, "a": 2}', /^config\.json:1:10 .*"a" comes twice/],
    ['{"a": 1,}', /^config\.json:1:9 .*a key in double quotes is expected/],
    ["[1 2]", /^config\.json:1:4 .*',' or '\]' is expected/],
    ["[1] x", /^config\.json:1:5 .*text after the end/],
    ["01", /^config\.json:1:2 .*text after the end/],
    ["NaN", /^config\.json:1:1 .*a value is expected/],
    ['"\t"', /^config\.json:1:2 .*control character/],
    ['"\\x41"', /^config\.json:1:2 .*unknown escape/],
    ['"\\u12g4"', /^config\.json:1:2 .*four hexadecimal digits/],
    ["", /^config\.json:1:1 .*ends where a value is expected/],
    ["[[[[[[[[[1]]]]]]]]]", /^config\.json:1:9 .*deeper than 8 levels/],
  ])("refuses %j at its line and column", (text, expected) => {
    expect(refused(text)).toMatch(expected);
  });

  it("refuses a hundred thousand brackets without running out of stack", () => {
    expect(refused("[".repeat(100_000))).toMatch(/deeper than 8 levels/);
  });
});

it("JSON that is small as text and large in memory is refused", () => {
  expect(refused(`[${"[],".repeat(8_000_000)}0]`)).toMatch(/more than 2500000 values/);
});

describe("JSON files", () => {
  it("refuses bytes that are not UTF-8, a file that is too large, and a top level that is no object", async () => {
    const dir = await tempDir();
    const latin1 = await put(dir, "latin1.json", Buffer.from('{"a":"\xe9"}', "latin1"));
    expect(await problemsOf(() => readJson(latin1))).toMatch(/CKP008 .*not UTF-8/);
    const large = await put(dir, "large.json", `[${"1,".repeat(600)}1]`);
    expect(await problemsOf(() => readJson(large, { maxBytes: 1000 }))).toMatch(
      /CKP008 .*1203 bytes of JSON; at most 1000/,
    );
    const list = await put(dir, "list.json", "[]");
    expect(await problemsOf(() => readJsonObject(list))).toMatch(/CKP008 .*not an object/);
  });
});
