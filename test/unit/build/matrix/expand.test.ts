import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { type Cell, originOf } from "../../../../src/build/matrix/cell.ts";
import { expandMatrix } from "../../../../src/build/matrix/expand.ts";
import { argvOf } from "../../../../src/build/matrix/keys.ts";
import { readMatrix } from "../../../../src/build/matrix/read.ts";
import { onlyCells, readShard, shardOf } from "../../../../src/build/matrix/select.ts";
import { Workspace } from "../../../support/pipeline.ts";

const work = new Workspace();
afterEach(() => work.clean());

async function cellsOf(text: string): Promise<readonly Cell[]> {
  const file = join(await work.dir(), "m.yaml");
  await writeFile(file, text);
  return expandMatrix(await readMatrix(file, "FILE")).map(cell => {
    const short = (where: string): string => where.replace(/^.*m\.yaml/, "m.yaml");
    const origins = Object.fromEntries(Object.entries(cell.origins).map(([key, at]) => [key, short(at)]));
    return { ...cell, origins, at: short(cell.at) };
  });
}

const refusal = (text: string): Promise<string> =>
  cellsOf(text).then(
    () => "nothing",
    (error: Error) => error.message.replaceAll(/\S*\/m\.yaml/g, "m.yaml"),
  );

const names = (cells: readonly Cell[]): readonly string[] => cells.map(({ name }) => name);

describe("the cells of a matrix", () => {
  it("are the product of the axes, models outermost, less what is excluded and more what is included", async () => {
    const cells = await cellsOf(`
models: { a: x/a, b: x/b }
targets: { old: { compute_capabilities: 86 }, new: { compute_capabilities: [100, 12.0] } }
matrix:
  tp_size: [1, 2]
  target: [old, new]
exclude: [{ model: b, tp_size: 2 }, { model: a, target: new, tp_size: [1, 2] }]
include: [{ model: b, target: new, tp_size: 2, max_batch_size: 19, name: wide }]
`);
    expect(names(cells)).toEqual(["a-old-tp1", "a-old-tp2", "b-old-tp1", "b-new-tp1", "wide"]);
    expect(cells.at(-1)).toMatchObject({
      axes: { model: "b", target: "new", tp_size: 2, max_batch_size: 19 },
      convert: { tp_size: 2 },
      build: { tp_size: 2, max_batch_size: 19, compute_capabilities: [100, 12] },
    });
  });

  it("take later layers over earlier ones, and know where each option was written", async () => {
    const [one, two] = await cellsOf(
      `models:
  a: { model_dir: a, max_batch_size: 2, dtype: float32 }
precisions:
  half: { dtype: fp16, build: { max_input_len: 7 } }
defaults: { max_batch_size: 1, max_input_len: 3, retries: 1 }
`.replace(", retries: 1", "") +
        `matrix: { precision: half, max_beam_width: [1, 3] }
overrides:
  - { when: { max_beam_width: 3 }, build: { max_input_len: 11 } }
`,
    );
    expect(one?.convert).toMatchObject({ dtype: "float16" });
    expect(one?.build).toMatchObject({
      max_batch_size: 2,
      max_input_len: 7,
      max_beam_width: 1,
      backend: "onnxruntime",
    });
    expect(two?.build).toMatchObject({ max_batch_size: 2, max_input_len: 11, max_beam_width: 3 });
    expect(two?.origins).toMatchObject({
      "build.max_batch_size": "m.yaml:2:38",
      "convert.dtype": "m.yaml:4:18",
      "build.max_input_len": "m.yaml:8:60",
      "build.max_beam_width": "m.yaml:6:48",
    });
    expect(originOf(two as Cell, "build")("build.max_input_len")).toBe("m.yaml:8:60");
    expect(originOf(two as Cell, "build")("max_seq_len")).toContain(two?.name);
  });

  it("become command lines of what the file sets and nothing else, a revision that became a directory left out", async () => {
    const [cell] = await cellsOf("models: { a: { model_dir: org/a, revision: main, use_weight_only: enable } }");
    const local = { ...cell, convert: { ...cell?.convert, model_dir: "snap shot", revision: undefined } } as Cell;
    expect(argvOf("convert", local)).toEqual(["--model_dir=snap shot", "--use_weight_only=true"]);
  });

  it("read precisions by mmtrt's own words, and synonyms", async () => {
    const cells = await cellsOf(
      "models: { a: a }\nmatrix: { precision: [bf16, int8_wo, float32] }\nexclude: { }\n".replace("exclude: { }\n", ""),
    );
    expect(cells.map(({ convert }) => [convert.dtype, convert.qformat])).toEqual([
      ["bfloat16", undefined],
      ["auto", "int8_wo"],
      ["float32", undefined],
    ]);
  });

  it.each([
    ["models: {}", /CFG006.*models must NOT have fewer than 1/],
    ["modles: { a: a }", /CFG005.*unknown key modles.*at m\.yaml:1:1; did you mean models\?/],
    [
      "models: { a: a }\nmatrix: { max_batch_sise: 1 }",
      /CFG005.*max_batch_sise in matrix.*m\.yaml:2:11; did you mean max_batch_size\?/,
    ],
    ["models: { a: a }\nmatrix: { output_dir: x }", /MTX003.*output_dir.*m\.yaml:2:11/],
    ["models: { a: a }\nmatrix: { max_batch_size: [1, many] }", /CFG002.*got many.*m\.yaml:2:31/],
    ["models: { a: a }\nmatrix: { model: [a, c] }", /MTX001.*model c is not defined; there is a.*m\.yaml:2:22/],
    ["models: { a: a }\nmatrix: { target: fast }", /MTX001.*target fast.*no targets/],
    ["models: { a: a }\nmatrix: { tp_size: [2, 1, 2] }", /MTX004.*tp_size 2 is given twice, first at m\.yaml:2:21/],
    ["models: { a: a }\nexclude: [{ tp_size: 2 }]", /MTX002.*tp_size is no axis.*m\.yaml:2:13/],
    [
      "models: { a: a }\nmatrix: { tp_size: [1, 2] }\nexclude: [{ tp_size: 4 }]",
      /MTX001.*tp_size has no value 4; there are 1, 2/,
    ],
    ["models: { a: a }\nexclude: [{ model: a }]", /MTX005/],
    ["models: { a: a, b: b }\ninclude: [{ tp_size: 2 }]", /MTX001.*names no model/],
    ["models: { a: a }\ninclude: [{ model: a }]", /MTX004.*second cell is called a.*m\.yaml:2:11/],
    [
      "models: { a: a }\nmatrix: { max_batch_size: [1, 2, 3, 4, 5, 6, 7, 8], max_input_len: [1, 2, 3, 4, 5, 6, 7, 8], max_seq_len: [9, 10, 11, 12, 13, 14, 15, 16, 17], max_beam_width: [1, 2, 3, 4, 5, 6, 7, 8] }",
      /MTX006.*4608 cells/,
    ],
    [
      "models: { a: { model_dir: a, dtype: float17 } }",
      /CFG002.*dtype must be one of.*m\.yaml:1:37.*did you mean float16\?/,
    ],
    ["models: [", /CFG006.*not valid YAML/],
    ["models: { a: 5 }", /CFG006.*m\.yaml:1:14/],
    ["a: &a [x, x]\nb: &b [*a, *a]\n", /CFG005/],
  ])("are refused with the place in %s", async (text, expected) => {
    expect(await refusal(text)).toMatch(expected);
  });

  it("tell all mistakes of values at once, in the order of the file", async () => {
    const told = await refusal(
      "models: { a: a }\nmatrix:\n  tp_size: 0\n  max_batch_size: 0\n  precision: no\n  target: x\n",
    );
    expect(told.match(/m\.yaml:\d+:\d+/g)).toEqual(["m.yaml:3:12", "m.yaml:4:19", "m.yaml:5:14", "m.yaml:6:11"]);
  });
});

describe("a choice of cells", () => {
  const TEXT = "models: { llava: a, opt: b }\nmatrix: { precision: [float16, float32], tp_size: [1, 2] }\n";

  it("is made by patterns of names and by values of axes", async () => {
    const cells = await cellsOf(TEXT);
    expect(names(onlyCells(cells, ["opt-*-tp1", "tp_size=2"], "--only"))).toEqual([
      "llava-float16-tp2",
      "llava-float32-tp2",
      "opt-float16-tp1",
      "opt-float16-tp2",
      "opt-float32-tp1",
      "opt-float32-tp2",
    ]);
    expect(() => onlyCells(cells, ["llava-float61-tp2"], "--only")).toThrow(/MTX005.*did you mean llava-float16-tp2/);
    expect(() => onlyCells(cells, ["l.*"], "--only")).toThrow(/MTX005/);
  });

  it.each(["0/2", "3/2", "1/0", "1", "a/b", "1/2/3", "-1/2"])("is refused as shard %s", text => {
    expect(() => readShard(text, "--shard")).toThrow(/CFG002/);
  });

  it("is a part of neighbours as a shard", () => {
    expect(shardOf([1, 2, 3, 4, 5], readShard("2/2", ""))).toEqual([3, 4, 5]);
    expect([1, 2, 3].flatMap(i => shardOf([7], { index: i, count: 3 }))).toEqual([7]);
  });
});
