import { join } from "node:path";
import { openSession } from "../../src/runtime/session.ts";
import { type Figure, figureOf, shown } from "../support/figures.ts";
import type { Place } from "../support/place.ts";
import { Turns } from "../support/turns.ts";

const THREADS = 2;
const PEER = "transformers";

/** The encoder of LLaVA-1.5 at full size (CLIP-L/14 of 336 pixels and the projector; 2 decoder layers), one image, float32. */
export async function vision({ dir, python, runs }: Place): Promise<readonly Figure[]> {
  const script = join(import.meta.dirname, "../peers/vision_transformers.py");
  const peer = new Turns(python(PEER), [script, join(dir, "llava"), String(THREADS)]);
  const size = (await peer.ready()).size as number;
  const own = await openSession(join(dir, "e-llava"), { threads: THREADS });
  const values = 3 * size * size;
  const data = Float32Array.from({ length: values }, (_, i) => -1 + (2 * i) / (values - 1));
  const ours = async (): Promise<number> => {
    const began = performance.now();
    await own.encodeImages([{ data, height: size, width: size }]);
    return performance.now() - began;
  };
  const theirs = async (): Promise<number> => (await peer.ask({ encode: 1 })).ms as number;
  await ours();
  await theirs();
  const [mine, other]: [number[], number[]] = [[], []];
  for (let i = 0; i < runs; i++) {
    mine.push(await ours());
    other.push(await theirs());
  }
  peer.close();
  await own.close();
  const samples = new Map([
    ["mmtrt", mine],
    [PEER, other],
  ]);
  return [shown(figureOf("LLaVA-1.5's encoder, one image, fp32", "ms", samples, { to: PEER, wanted: "≤ 1.0" }))];
}
