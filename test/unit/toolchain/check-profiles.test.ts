import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { profileProblems } from "../../../src/toolchain/tensorrt/check-profiles.ts";
import { DRIVER_CODES } from "../../../src/toolchain/tensorrt/driver.ts";
import {
  compareVersions,
  MINIMUM_VERSION,
  parseVersion,
  smsWithout,
  supports,
} from "../../../src/toolchain/tensorrt/versions.ts";
import { filesBelow, ROOT } from "../../support/sources.ts";

const inputs = [
  { name: "input_ids", dtype: "int32", dims: ["batch", "seq"] },
  { name: "attention_mask", dtype: "int32", dims: ["batch", "past + seq"] },
  { name: "past_key_0", dtype: "float16", dims: ["batch", 3, "past", 16] },
  { name: "prompt_vocab_size", dtype: "int32", dims: [1] },
];
type Sizes = readonly [batch: number, past: number, seq: number];
function profile(min: Sizes, opt: Sizes, max: Sizes, mask: (past: number, seq: number) => number = (p, s) => p + s) {
  const ranges = (of: (sizes: Sizes) => readonly number[]) => ({ min: of(min), opt: of(opt), max: of(max) });
  return {
    name: "context",
    shapes: {
      input_ids: ranges(([b, , s]) => [b, s]),
      attention_mask: ranges(([b, p, s]) => [b, mask(p, s)]),
      past_key_0: ranges(([b, p]) => [b, 3, p, 16]),
    },
  };
}
const good = profile([1, 0, 1], [2, 0, 19], [4, 0, 989]);
const codes = (profiles: Parameters<typeof profileProblems>[0]): readonly string[] =>
  profileProblems(profiles, inputs).map(problem => problem.code);

describe("profiles against the graph", () => {
  it("pass when the mask is past + seq at min, opt and max", () => {
    expect(codes([good, profile([1, 1, 1], [2, 19, 1], [4, 988, 1])])).toEqual([]);
  });

  it.each([0, 1, 2] as const)("fail when it is not, at every point (%#)", end => {
    let calls = 0;
    const off = profile([1, 0, 1], [2, 0, 19], [4, 0, 989], (p, s) => p + s + (calls++ === end ? 1 : 0));
    const problems = profileProblems([off], inputs);
    expect(problems.map(p => p.code)).toContain("TRT004");
    expect(problems[0]?.what).toContain(`contradicts itself at ${["min", "opt", "max"][end]}`);
    expect(problems[0]?.fix).toContain(`attention_mask axis 1`);
  });

  it("fail when one name has two sizes", () => {
    const shapes = { ...good.shapes, past_key_0: { min: [1, 3, 0, 16], opt: [3, 3, 0, 16], max: [4, 3, 0, 16] } };
    expect(profileProblems([{ name: "c", shapes }], inputs)).toMatchObject([
      {
        code: "TRT004",
        what: "profile 0 (c) contradicts itself at opt: batch is 2 in input_ids axis 0 and 3 in past_key_0 axis 0",
      },
    ]);
  });

  it("fail on unknown names with the nearest one, and on dynamic inputs left out", () => {
    const { attention_mask, ...rest } = good.shapes;
    const problems = profileProblems([{ name: "c", shapes: { ...rest, atention_mask: attention_mask } }], inputs);
    expect(problems.map(p => p.code)).toEqual(["TRT001", "TRT002"]);
    expect(problems[0]?.fix).toMatch(/^write attention_mask; the graph's inputs are input_ids,/);
  });

  it("fail on a wrong rank, a wrong order, a wrong fixed size and a size that is none", () => {
    const of = (name: string, min: number[], opt: number[], max: number[]) => [
      { name: "c", shapes: { ...good.shapes, [name]: { min, opt, max } } },
    ];
    expect(codes(of("input_ids", [1], [2], [4]))).toEqual(["TRT003"]);
    expect(codes(of("input_ids", [1, 1], [2, 990], [4, 989]))).toContain("TRT003");
    expect(codes(of("prompt_vocab_size", [1], [1], [2]))).toEqual(["TRT003"]);
    expect(codes(of("input_ids", [1, -1], [2, 19], [4, 989]))).toContain("TRT003");
    expect(codes(of("input_ids", [1, 0.5], [2, 19], [4, 989]))).toContain("TRT003");
  });

  it("fail without any profile, unless nothing is dynamic", () => {
    expect(codes([])).toEqual(["TRT002"]);
    expect(profileProblems([], [inputs[3] as (typeof inputs)[3]])).toEqual([]);
  });

  it("pass exactly when the sums agree, for any sizes", () => {
    const sizes = fc.tuple(fc.nat(19), fc.nat(989), fc.nat(989));
    fc.assert(
      fc.property(sizes, fc.integer({ min: -1, max: 1 }), (at, off) => {
        const [batch, past, seq] = at;
        fc.pre(past + seq + off >= 0);
        const same: Sizes = [batch, past, seq];
        const found = codes([profile(same, same, same, (p, s) => p + s + off)]);
        expect(found.length > 0).toBe(off !== 0);
      }),
    );
  });
});

describe("the Python driver", () => {
  it("raises only codes that its reader takes", () => {
    const files = filesBelow("native-plugins/driver").filter(file => file.endsWith(".py"));
    const raised = files.flatMap(file => readFileSync(join(ROOT, file), "utf8").match(/"(TRT|ENV)\d{3}"/g) ?? []);
    expect(new Set(raised.map(word => word.slice(1, -1)))).toEqual(new Set(DRIVER_CODES));
  });
});

describe("what a target supports", () => {
  it("depends on the version for enterprise TensorRT", () => {
    expect(supports({ backend: "tensorrt", version: "10.13.3" }, "Attention")).toBe(false);
    expect(supports({ backend: "tensorrt", version: "10.14" }, "Attention")).toBe(true);
    expect(supports({ backend: "tensorrt", version: "10.14.0" }, "TensorScatter")).toBe(false);
    expect(supports({ backend: "tensorrt", version: "11.0" }, "Swish")).toBe(true);
    expect(supports({ backend: "tensorrt" }, "Swish")).toBe(true);
  });

  it("is all but the fused experts for TensorRT-RTX", () => {
    const rtx = { backend: "tensorrt_rtx", version: "1.7.1.116" } as const;
    const lacking = (Object.keys(MINIMUM_VERSION) as (keyof typeof MINIMUM_VERSION)[]).filter(f => !supports(rtx, f));
    expect(lacking).toEqual(["TRT_MoE"]);
  });

  it("counts versions by their parts", () => {
    expect(compareVersions(parseVersion("10.9"), parseVersion("10.10"))).toBeLessThan(0);
    expect(parseVersion("10.13.3.9")).toEqual([10, 13, 3]);
    expect(parseVersion("nonsense")).toEqual([0, 0, 0]);
  });

  it("depends on the SM for element types", () => {
    const rtx = { backend: "tensorrt_rtx", sms: [75, 80, 89, 120] } as const;
    expect(smsWithout(rtx, "bfloat16")).toEqual([75]);
    expect(smsWithout(rtx, "float8_e4m3fn")).toEqual([75, 80]);
    expect(smsWithout(rtx, "float16")).toEqual([]);
    expect(smsWithout({ backend: "tensorrt" }, "float4_e2m1fn")).toEqual([]);
  });
});
