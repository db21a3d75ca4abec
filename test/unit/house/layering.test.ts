import { describe, expect, it } from "vitest";
import { cycles, MAX_LINES, misplaced, tooLong, wrongLayers } from "../../support/house-rules.ts";
import { parseSource, readSources } from "../../support/sources.ts";

const sources = readSources();

describe("the source tree", () => {
  it("imports only what the layer may import", () => {
    expect(sources.length).toBeGreaterThan(40);
    expect(wrongLayers(sources)).toEqual([]);
  });

  it("has no import cycle", () => {
    expect(cycles(sources)).toEqual([]);
  });

  it("reads the environment, prints and spawns in one layer each, and never says any", () => {
    expect(misplaced(sources)).toEqual([]);
  });

  it("has no file of more lines than one can read at once", () => {
    expect(tooLong(sources)).toEqual([]);
  });
});

describe("the house rules themselves", () => {
  it("see a wrong import, of types and by import() too", () => {
    const wrong = [
      parseSource("src/tensor/a.ts", 'import { x } from "../graph/ops.ts"; export const y = x;'),
      parseSource("src/graph/b.ts", 'import type { Z } from "../cli/ui.ts"; export type W = Z;'),
      parseSource("src/models/c.ts", 'export const f = () => import("../formats/json.ts");'),
      parseSource("src/models/d.ts", 'export type T = import("../emit/onnx.ts").Onnx;'),
      parseSource("src/emit/e.ts", 'export { a } from "../models/spec.ts";'),
      parseSource("src/extra/f.ts", "export const a = 1;"),
    ];
    const right = [
      parseSource("src/models/g.ts", 'import { rope } from "../layers/rope.ts"; export const a = rope;'),
      parseSource("src/checkpoint/h.ts", 'import { fail } from "../diagnostics/index.ts"; export const a = fail;'),
    ];
    expect(wrongLayers(wrong)).toHaveLength(wrong.length);
    expect(wrongLayers(right)).toEqual([]);
  });

  it("see a cycle once, and none through import()", () => {
    const ring = [
      parseSource("src/graph/a.ts", 'import { b } from "./b.ts"; export const a = b;'),
      parseSource("src/graph/b.ts", 'import type { C } from "./c.ts"; export const b: C = 1;'),
      parseSource("src/graph/c.ts", 'export * from "./a.ts"; export type C = number;'),
    ];
    expect(cycles(ring)).toEqual(["src/graph/a.ts -> src/graph/b.ts -> src/graph/c.ts -> src/graph/a.ts"]);
    const lazy = [
      parseSource("src/cli/a.ts", 'export const a = () => import("./b.ts");'),
      parseSource("src/cli/b.ts", 'import { a } from "./a.ts"; export const b = a;'),
    ];
    expect(cycles(lazy)).toEqual([]);
  });

  it("see any, the environment, prints and spawns outside their layers, and not in comments or texts", () => {
    const text = [
      'import { execa } from "execa";',
      'import { spawn } from "node:child_process";',
      "export const a = process.env.HOME as any;",
      "console.log(a, execa, spawn);",
      'process.stdout.write("console.log process.env any");',
      "// process.env console.log any",
    ].join("\n");
    expect(misplaced([parseSource("src/graph/a.ts", text)]).map(line => line.replace("src/graph/a.ts", ""))).toEqual([
      ":3: process.env outside src/options",
      ":3: the type any",
      ":4: console.log outside src/cli",
      ":5: process.stdout outside src/cli",
      ": imports execa outside src/toolchain",
      ": imports node:child_process outside src/toolchain",
    ]);
    expect(
      misplaced([parseSource("src/toolchain/a.ts", 'import { execa } from "execa"; export const a = execa;')]),
    ).toEqual([]);
  });

  it("see a file one line too long", () => {
    expect(tooLong([parseSource("src/graph/a.ts", "\n".repeat(MAX_LINES + 1))])).toHaveLength(1);
    expect(tooLong([parseSource("src/graph/a.ts", "\n".repeat(MAX_LINES))])).toEqual([]);
  });
});
