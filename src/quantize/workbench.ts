import type { FloatDtype } from "../tensor/index.ts";
import { type WeightKernels, weightKernels } from "./kernels.ts";
import { WASM_PAGE, wasmMemory } from "./wasm.ts";

/** Bytes of memories kept for the next matrix: half of what convert may take. */
const KEPT = 128 << 20;

/**
 * Memory that the kernels work in, for one matrix at a time. Memories are used again, because a fresh one costs as much
 * in page faults as the codes that are made in it.
 */
export class Workbench {
  static readonly #free: Workbench[] = [];
  static #taken = 0;

  readonly #memory = wasmMemory();
  readonly #kernels = new Map<string, WeightKernels>();

  /** One with at least `bytes`, which nobody else has until it is given back. */
  static take(bytes: number): Workbench {
    const bench = Workbench.#free.pop() ?? new Workbench();
    Workbench.#taken++;
    const missing = bytes - bench.#memory.buffer.byteLength;
    if (missing > 0) bench.#memory.grow(Math.ceil(missing / WASM_PAGE));
    return bench;
  }

  /** How many are taken now: what each may ask for is less then. */
  static get taken(): number {
    return Workbench.#taken;
  }

  giveBack(): void {
    Workbench.#taken--;
    const kept = Workbench.#free.reduce((sum, bench) => sum + bench.#memory.buffer.byteLength, 0);
    if (kept + this.#memory.buffer.byteLength <= KEPT) Workbench.#free.push(this);
  }

  /** Waits for `pass`; given back if it fails. */
  async during(pass: Promise<void>): Promise<void> {
    try {
      await pass;
    } catch (error) {
      this.giveBack();
      throw error;
    }
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
