import { expect, it } from "vitest";
import { formatProblem, MmtrtError, type Problem, printable, problemEvent } from "../../../src/diagnostics/index.ts";
import { readModel } from "../../../src/models/registry.ts";

const problem: Problem = { code: "CKP010", what: "w", at: "file", why: "because", fix: "do" };

it("control characters of a file are written out, line breaks and tabs are kept", () => {
  const name = "a\u001b]0;title\u0007\tb\nc\u009b2J\r";
  expect(printable(name)).toBe("a\\x1b]0;title\\x07\tb\nc\\x9b2J\\x0d");
  expect(formatProblem({ ...problem, what: name })).toContain(": a\\x1b]0;title\\x07");
});

it("a name that would be shown backwards is written out; marks that right-to-left text needs stay", () => {
  expect(printable("a\u202egnp.exe")).toBe("a\\u202egnp.exe");
  expect(printable("\u200f\u05d0\u2067b\u2069")).toBe("\u200f\u05d0\u2067b\u2069");
});

it("a value of a million characters is quoted by its two ends", () => {
  const long = { ...problem, what: `begin${"x".repeat(1_000_000)}end` };
  const [clipped] = new MmtrtError([long]).problems;
  expect(clipped?.what).toMatch(/^beginx{1995} … \(997008 characters\) … x{997}end$/);
  expect(problemEvent(long).what).toBe(clipped?.what);
  expect(new MmtrtError([problem]).problems[0]).toBe(problem);
});

it("more layers than any model has are refused before anything is made for each of them", () => {
  const config = { architectures: ["LlamaForCausalLM"], model_type: "llama", num_hidden_layers: 1_000_000_000 };
  expect(() => readModel(config)).toThrow(
    /SPC002.*num_hidden_layers is 1000000000; expected a whole number from 1 to 1024/,
  );
});

it.each([
  ["image_size", 65_536, /SPC006.*image_size gives 16384 × 16384 patches/],
  ["window_size", 61, /SPC006.*window_size is 61; expected at most 32/],
])("tables of shifted windows are bounded before they are made (%s %j)", (key, value, words) => {
  const encoder = { model_type: "donut-swin", image_size: 1989, window_size: 7, [key]: value };
  const decoder = { model_type: "mbart", vocab_size: 89, d_model: 1024 };
  const model = { architectures: ["VisionEncoderDecoderModel"], model_type: "vision-encoder-decoder" };
  expect(() => readModel({ ...model, encoder, decoder })).toThrow(words);
});
