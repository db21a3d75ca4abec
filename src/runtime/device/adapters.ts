import type { LlmEngineConfig } from "../../formats/engine-config.ts";
import { f32ToBf16, LORA_TASK_IDS } from "../../tensor/index.ts";
import type { SentTensor } from "../../toolchain/runner/frames.ts";
import { type LoraBank, NO_ADAPTER } from "../lora/bank.ts";
import type { Tensor, TensorMaker } from "../ort.ts";

/** Makes tensors that are data alone: nothing is loaded to hold them. */
export const PLAIN_TENSORS: TensorMaker = {
  tensor: (type, data, dims) => ({ type, data, dims }) as unknown as Tensor,
};

/** The inputs of a bank that are the same in every call, in the dtypes of the decoder. */
export function adapterTensors(bank: LoraBank, { io }: LlmEngineConfig): readonly SentTensor[] {
  const feeds = Object.entries(bank.rows([NO_ADAPTER]).feeds()).filter(([name]) => name !== LORA_TASK_IDS);
  return feeds.map(([name, { data, dims, type }]) => {
    const dtype = io.find(value => value.name === name)?.dtype ?? type;
    const values = dtype === "bfloat16" ? toBfloat16(data as Float32Array) : (data as Float32Array);
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    return { name, dtype, shape: [...dims], bytes };
  });
}

function toBfloat16(values: Float32Array): Uint16Array {
  const half = new Uint16Array(values.length);
  f32ToBf16(values, half);
  return half;
}
