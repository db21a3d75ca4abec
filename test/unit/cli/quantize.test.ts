import { describe, expect, it } from "vitest";
import { checkRequest } from "../../../src/cli/quantize/checks.ts";
import { reportText } from "../../../src/cli/quantize/text.ts";
import { MmtrtError } from "../../../src/diagnostics/index.ts";
import { withDefaults } from "../../../src/options/define.ts";
import { type QuantizeOptions, quantizeOptions } from "../../../src/options/tables/quantize.ts";

function problems(given: Partial<QuantizeOptions>): string[] {
  try {
    checkRequest(withDefaults(quantizeOptions, given), key => `--${key}`);
    return [];
  } catch (error) {
    if (!(error instanceof MmtrtError)) throw error;
    return error.problems.map(({ code, at, what }) => `${code} ${at}: ${what}`);
  }
}

const MODEL = { model_dir: "m" } as const;

describe("mmtrt quantize", () => {
  it.each<[string, Partial<QuantizeOptions>]>([
    ["a checkpoint to compare", { ...MODEL, checkpoint_dir: "c" }],
    ["one format", { ...MODEL, output_dir: "o", format: ["int8"] }],
    ["a search", { ...MODEL, output_dir: "o", auto: 0.99, check_accuracy: "q" }],
    ["a search among some", { ...MODEL, output_dir: "o", max_loss: 1, check_accuracy: "q", format: ["int4", "int8"] }],
  ])("takes %s", (_name, given) => {
    expect(problems(given)).toEqual([]);
  });

  it.each<[string, Partial<QuantizeOptions>, readonly RegExp[]]>([
    ["nothing", {}, [/CFG004 --model_dir/, /CFG004 --output_dir/, /CFG004 --format: no format/]],
    [
      "two formats and no judge",
      { ...MODEL, output_dir: "o", format: ["int4", "int8"] },
      [/CFG004 --format: 2 formats/],
    ],
    ["a search without questions", { ...MODEL, output_dir: "o", auto: 1 }, [/CFG004 --check_accuracy/]],
    [
      "two limits",
      { ...MODEL, output_dir: "o", auto: 1, max_loss: 1, check_accuracy: "q" },
      [/CFG002 --auto: auto and max_loss/],
    ],
    [
      "a checkpoint to compare and to make",
      { ...MODEL, checkpoint_dir: "c", output_dir: "o" },
      [/CFG002 --checkpoint_dir/],
    ],
  ])("refuses %s, all at once", (_name, given, says) => {
    const found = problems(given);
    expect(found).toHaveLength(says.length);
    for (const [i, one] of says.entries()) expect(found[i]).toMatch(one);
  });

  it("shows formats side by side, which was taken and why others were not", () => {
    const layer = { module: "transformer.layers.3.mlp.fc", rank: 1, cosine: 0.5, max_abs: 2, relative: 0.25 };
    const trial = { quant_algo: "W4A16", layers: [layer], not_compared: 0, bytes: 512, float_bytes: 1024 } as const;
    const text = reportText({
      ...{ version: "0", model: "m", date: new Date(0), chosen: "int8", least: 0.9 },
      trials: [
        { ...trial, format: "int4", accuracy: 0.5, correct: 1, kept: false },
        { ...trial, format: "int8", accuracy: 1, correct: 2, kept: true },
      ],
      float: { accuracy: 1, correct: 2, total: 2 },
      refused: [["int4_g128", "does not fit"]],
    });
    expect(text).toMatch(
      /int4 +512 B +50\.00 % +50\.00 % +layers\.3\.mlp\.fc \(rank 1\) +0\.25000 +0\.500000 +too inaccurate/,
    );
    expect(text).toMatch(/int8 .* chosen/);
    expect(text).toContain("float: 100.00 % (2 of 2), at least 90.00 % asked for\nint4_g128: does not fit");
  });
});
