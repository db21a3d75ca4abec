import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { openEngine } from "../../src/formats/engine-dir.ts";
import { FIXTURES } from "../support/describe-parity.ts";
import { headerOf, toldOf } from "../support/engine-files.ts";
import { buildTo, convertTo, Workspace } from "../support/pipeline.ts";
import { describeTensorRT } from "../support/tensorrt.ts";

const work = new Workspace();
afterAll(() => work.clean());

describeTensorRT("engines for prompts in pieces", python => {
  const target = { backend: "tensorrt_rtx", python, compute_capabilities: [86], max_batch_size: 3 } as const;
  const pieces = { use_paged_context_fmha: true, max_input_len: 40, max_seq_len: 60, tokens_per_block: 8 } as const;

  it.each([
    // Pieces of 21 tokens, a piece a token, a window, rows of a prompt table, a cache of fixed size.
    ["llama_gqa", { max_num_tokens: 64 }],
    ["llama_gqa", { max_num_tokens: 3 }],
    ["mistral_slides", { max_num_tokens: 64 }],
    ["llava_full", { max_num_tokens: 64 }],
    ["llama_gqa", { max_num_tokens: 64, kv_cache_type: "static" }],
  ] as const)("TensorRT-RTX builds the profiles that %s has with %o", async (model, build) => {
    const checkpoint = await convertTo(work, join(FIXTURES, model), "float16");
    const dir = await buildTo(work, checkpoint, { ...target, ...pieces, ...build }, { env: { PATH: "/nowhere" } });
    const { llm, llmParts } = await openEngine(dir);
    expect(headerOf(llmParts[0]?.engine as string).tag).toBe("vtrt");
    const [context] = llm?.profiles ?? [];
    const piece = Math.floor(build.max_num_tokens / 3);
    expect(context?.sizes.seq).toEqual({ min: 1, opt: Math.floor((piece + 1) / 2), max: piece });
    if (!("kv_cache_type" in build)) expect(context?.sizes.past).toEqual({ min: 0, opt: 19, max: 39 });
    const told = toldOf(dir, "llm/rank0");
    for (const [i, { shapes }] of (llm?.profiles ?? []).entries()) {
      const built = Object.entries(told.profiles[i]?.shapes ?? {}).map(([name, { max }]) => [name, max]);
      expect(Object.fromEntries(built)).toEqual(
        Object.fromEntries(Object.entries(shapes).map(([name, { max }]) => [name, max])),
      );
    }
    const inputs = told.io.tensors.filter(({ kind }) => kind === "input").map(({ name }) => name);
    expect(inputs.sort()).toEqual(Object.keys(context?.shapes ?? {}).sort());
  });
});
