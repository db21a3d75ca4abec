import type { FloatDtype } from "../tensor/index.ts";
import { type WeightKernels, weightKernels } from "./kernels.ts";
import { WASM_PAGE, wasmMemory } from "./wasm.ts";

/** Memories kept for the next matrix: one for each file that is written at a time would do. */
const KEPT = 4;

/**
 * Memory that the kernels work in, for one matrix at a time. Memories are used again, because a fresh one costs as much
 * in page faults as the codes that are made in it.
 */
export class Workbench {
  static readonly #free: Workbench[] = [];

  readonly #memory = wasmMemory();
  readonly #kernels = new Map<string, WeightKernels>();

  /** One with at least `bytes`, which nobody else has until it is given back. */
  static take(bytes: number): Workbench {
    const bench = Workbench.#free.pop() ?? new Workbench();
    const missing = bytes - bench.#memory.buffer.byteLength;
    if (missing > 0) bench.#memory.grow(Math.ceil(missing / WASM_PAGE));
    return bench;
  }

  giveBack(): void {
    if (Workbench.#free.length < KEPT) Workbench.#free.push(this);
  }

  kernels(dtype: FloatDtype, bits: 8 | 4): WeightKernels {
    const key = `${dtype}|${bits}`;
    const known = this.#kernels.get(key) ?? weightKernels(dtype, bits, this.#memory);
    this.#kernels.set(key, known);
    return known;
  }

  get bytes(): Uint8Array {
    return new Uint8Array(this.#memory.buffer);
  }

  get words(): Uint32Array {
    return new Uint32Array(this.#memory.buffer);
  }

  get floats(): Float32Array {
    return new Float32Array(this.#memory.buffer);
  }
}
