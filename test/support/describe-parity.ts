import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openHf } from "../../src/checkpoint/open.ts";
import { readModel } from "../../src/models/registry.ts";
import { searchTokens } from "../../src/runtime/generate/greedy.ts";
import { GENERATE_DEFAULTS } from "../../src/runtime/generate/options.ts";
import { gridsOf, patchPictures } from "../../src/runtime/image/patch-values.ts";
import type { PixelValues } from "../../src/runtime/image/preprocess.ts";
import type { Features } from "../../src/runtime/prompt-table.ts";
import { openSession, type Session } from "../../src/runtime/session.ts";
import type { FloatDtype } from "../../src/tensor/index.ts";
import {
  type ImageSize,
  tokensOf as imageTokens,
  type PatchesRule,
  tokensBeside,
  type VisualTokenRule,
} from "../../src/vision/index.ts";
import { expectClose } from "./expect-close.ts";
import { buildTo, convertTo, Workspace } from "./pipeline.ts";
import { type ReferenceTensor, readReference, row } from "./reference.ts";

export const FIXTURES = new URL("../fixtures/parity/", import.meta.url).pathname;

export interface Case {
  readonly session: Session;
  readonly reference: ReadonlyMap<string, ReferenceTensor>;
  readonly imageTokenId: number | undefined;
  readonly vocabSize: number;
}

/**
 * The model of a fixture against transformers, through the same convert, build and session that users run: visual
 * features and logits within 1e-4 and greedy tokens equal in float32, batch 1 and 3; both caches; half weights.
 */
export function describeParity(name: string): void {
  const work = new Workspace();
  afterAll(() => work.clean());

  const open = async (dtype: FloatDtype, build: Parameters<typeof buildTo>[2] = {}): Promise<Case> => {
    const dir = join(FIXTURES, name);
    const { spec } = readModel(await configOf(dir));
    const reference = await readReference(join(dir, "reference.safetensors"));
    const longest = reference.get("b3.input_ids")?.shape[1] ?? 0;
    const lengths = { max_batch_size: 3, max_input_len: longest + 3, max_seq_len: longest + tokensOf(reference) };
    // Several pictures in a prompt need more rows than a batch of one each.
    const pictures = reference.get("b3.images")?.values ?? [];
    const rows = [...pictures].reduce((sum, count) => sum + count, 0) * (spec.vision?.numVisualFeatures ?? 0);
    const sized = rows > 0 && spec.visualTokens === undefined;
    const given = { ...lengths, ...(sized && { max_multimodal_len: rows }), ...build };
    const engine = await buildTo(work, await convertTo(work, dir, dtype), given);
    return {
      session: await openSession(engine, { threads: 1 }),
      reference,
      imageTokenId: spec.imageTokenId,
      vocabSize: spec.language.vocabSize,
    };
  };

  describe(name, () => {
    it(`has transformers' features, logits and greedy tokens in float32, batch 1 and 3`, async () => {
      const model = await open("float32");
      for (const batch of ["b1", "b3"]) {
        const prompts = promptsOf(model, batch);
        const features = await featuresOf(model, batch);
        const visual = model.reference.get(`${batch}.visual`) ?? model.reference.get("visual");
        if (visual !== undefined && features !== undefined)
          expectClose(features.values, visual.values.subarray(0, features.values.length), 1e-4, `${batch} visual`);
        const decoding = await model.session.prefill(prompts, features);
        expectClose(decoding.logits, valuesOf(model, `${batch}.logits`), 1e-4, `${batch} logits`);
        const answers = await searchTokens(decoding, prompts, {
          ...GENERATE_DEFAULTS,
          maxNewTokens: tokensOf(model.reference),
        });
        expect(answers.map(({ tokenIds }) => [...tokenIds])).toEqual(rowsOf(model, `${batch}.tokens`));
      }
      await model.session.close();
    });

    it.each(["float16", "bfloat16"] as const)("stays within 2e-2 of transformers with %s weights", async dtype => {
      const model = await open(dtype);
      for (const batch of ["b1", "b3"]) {
        const decoding = await model.session.prefill(promptsOf(model, batch), await featuresOf(model, batch));
        expectClose(decoding.logits, valuesOf(model, `${batch}.logits_${dtype}`), 2e-2, `${batch} logits`);
      }
      await model.session.close();
    });

    it("gives the same tokens with a static cache", async () => {
      const model = await open("float32", { kv_cache_type: "static" });
      const prompts = promptsOf(model, "b3");
      const decoding = await model.session.prefill(prompts, await featuresOf(model, "b3"));
      expectClose(decoding.logits, valuesOf(model, "b3.logits"), 1e-4, "logits");
      const answers = await searchTokens(decoding, prompts, { ...GENERATE_DEFAULTS, maxNewTokens: 9 });
      expect(answers.map(({ tokenIds }) => [...tokenIds])).toEqual(
        rowsOf(model, "b3.tokens").map(tokens => tokens.slice(0, 9)),
      );
      await model.session.close();
    });
  });
}

/** Tokens that the reference's answers have: 64 for LLaMA and LLaVA, 32 for the others. */
function tokensOf(reference: ReadonlyMap<string, ReferenceTensor>): number {
  return reference.get("b1.tokens")?.shape[1] ?? 0;
}

/** config.json as `convert` reads it: of several folders, joined. */
async function configOf(dir: string): Promise<Readonly<Record<string, unknown>>> {
  const source = await openHf(dir);
  await source.close();
  return source.config;
}

function valuesOf({ reference }: Case, name: string): Float32Array | Int32Array {
  const tensor = reference.get(name);
  if (tensor === undefined) throw new Error(`the reference has no ${name}`);
  return tensor.values;
}

function rowsOf({ reference }: Omit<Case, "session">, name: string): number[][] {
  const tensor = reference.get(name);
  if (tensor === undefined) throw new Error(`the reference has no ${name}`);
  return Array.from({ length: tensor.shape[0] ?? 0 }, (_, i) => [...row(tensor, i)]);
}

/** The reference's prompts without padding, image placeholders replaced by rows of the prompt table. */
export function promptsOf(model: Omit<Case, "session">, batch: string): number[][] {
  const mask = rowsOf(model, `${batch}.attention_mask`);
  let tableRow = model.vocabSize;
  return rowsOf(model, `${batch}.input_ids`).map((ids, item) =>
    ids.filter((_, i) => mask[item]?.[i] === 1).map(id => (id === model.imageTokenId ? tableRow++ : id)),
  );
}

/** Features of the batch's pictures: `b3.images` says how many each prompt has, one where it says nothing. */
export async function featuresOf(model: Case, batch: string): Promise<Features | undefined> {
  const pixels = model.reference.get("pixel_values");
  if (pixels === undefined) return undefined;
  const rule = model.session.engine.manifest.model.visual_tokens;
  if (rule?.kind === "patches") return model.session.encodeImages(patchedPictures(model, batch, rule));
  const [, , height, width] = pixels.shape as [number, number, number, number];
  const counts = model.reference.get(`${batch}.images`)?.values ?? (batch === "b1" ? [1] : [1, 1, 1]);
  const total = [...counts].reduce((sum, count) => sum + count, 0);
  const sizes = model.reference.get("sizes");
  if (rule !== undefined && sizes !== undefined)
    return model.session.encodeImages(sizedImages(rule, { height, width }, pixels, sizes, [...counts]));
  return model.session.encodeImages(
    Array.from({ length: total }, (_, i) => ({ height, width, data: row(pixels, i) as Float32Array })),
  );
}

/** Pictures of packed patches, by their grids. */
export function patchedPictures({ reference }: Case, batch: string, rule: PatchesRule): readonly PixelValues[] {
  const [pixels, grids] = [reference.get("pixel_values"), reference.get("image_grid_thw")];
  const total = [...(reference.get(`${batch}.images`)?.values ?? [])].reduce((sum, count) => sum + count, 0);
  return patchPictures(rule, pixels?.values as Float32Array, gridsOf([...(grids?.values ?? [])])).slice(0, total);
}

/** Pictures of several sizes: as many of the tiles each as the rule says for its size, alone in its prompt or not. */
function sizedImages(
  rule: VisualTokenRule,
  tile: ImageSize,
  pixels: ReferenceTensor,
  sizes: ReferenceTensor,
  counts: readonly number[],
): PixelValues[] {
  let next = 0;
  return counts
    .flatMap(count => new Array<number>(count).fill(count))
    .map((together, i) => {
      const [height = 0, width = 0] = row(sizes, i);
      const tokens = (together > 1 ? tokensBeside(rule) : undefined) ?? imageTokens(rule, { height, width });
      const rows = Array.from({ length: tokens.tiles }, () => row(pixels, next++));
      return { ...tile, data: Float32Array.from(rows.flatMap(values => [...values])), tokens };
    });
}
