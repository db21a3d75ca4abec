import { describe, expect, it } from "vitest";
import { packedForm } from "../../../src/quantize/packed-forms.ts";
import { linearForm, type PackedLinear } from "../../../src/tensor/index.ts";
import { inMemory } from "../../support/tensors.ts";

describe("a form for a model of several stages", () => {
  const linear = (module: string): PackedLinear => {
    const plane = (dtype: "int8" | "float16", shape: readonly number[]) => ({
      recipe: inMemory(module, dtype, shape, new Uint8Array(shape[0]! * shape[1]! * (dtype === "int8" ? 1 : 2))),
      turned: true,
    });
    const planes = { codes: plane("int8", [256, 16]), scales: plane("float16", [2, 16]) };
    return { module, kind: "int4", outputs: 16, inputs: 256, groups: 2, ...planes };
  };
  const scheme = {
    method: "gptq",
    codes: "int4",
    groupSize: 128,
    zeroOffset: 1,
    activations: "float",
    kvCache: null,
  } as const;
  const form = (plain: readonly string[], tpSize: number) => {
    const modules = [0, 1, 2, 3].flatMap(layer =>
      ["fc", "proj"].map(kind => `transformer.layers.${layer}.mlp.${kind}`),
    );
    return packedForm(
      {
        scheme,
        modules: new Map(modules.filter(name => !plain.includes(name)).map(name => [name, [linear(name)]])),
        plain,
        cacheScales: new Map(),
        tpSize,
        layersPerStage: 2,
        splitsInputs: module => module.endsWith("proj"),
      },
      "plain",
    );
  };

  it("names plain layers as they are counted in a stage", () => {
    const { spec } = form(["transformer.layers.3.mlp.proj", "transformer.layers.0.mlp.fc"], 1);
    expect(spec?.excludeModules).toEqual(["lm_head", "transformer.layers.1.mlp.proj", "transformer.layers.0.mlp.fc"]);
    expect(linearForm(spec, "transformer.layers.1.mlp.proj").kind).toBe("plain");
    expect(linearForm(spec, "transformer.layers.1.mlp.fc").kind).toBe("group");
  });

  it("has the largest groups that lie on one rank", () => {
    expect([1, 2, 4, 8].map(tp => form([], tp).spec?.groupSize)).toEqual([128, 128, 64, 32]);
    expect(form([], 32).problems.map(({ code }) => code)).toEqual(["CKP083"]);
  });
});
