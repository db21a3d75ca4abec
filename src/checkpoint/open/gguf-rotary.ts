import type { StoredTensor } from "../../tensor/index.ts";

/**
 * Query or key rows in Hugging Face's order. llama.cpp rotates neighbouring rows (2j, 2j + 1) of a head, Hugging Face rows
 * j and j + d/2, so the GGUF file has them interleaved: row a · d/2 + j of a head lies at row 2j + a, for a in 0, 1.
 * `headDim` must be even and divide the rows.
 */
export function interleavedToHalves(tensor: StoredTensor, headDim: number): StoredTensor {
  const half = headDim / 2;
  const { name, dtype, shape, at } = tensor;
  return {
    name,
    dtype,
    shape,
    at,
    readRows: async (start, end) => {
      // Whole heads are read, since the rows of a part of a head are spread over all of it.
      const first = Math.floor(start / headDim) * headDim;
      const stored = await tensor.readRows(first, Math.ceil(end / headDim) * headDim);
      const rowBytes = stored.byteLength / Math.max(1, Math.ceil(end / headDim) * headDim - first);
      const out = new Uint8Array((end - start) * rowBytes);
      for (let row = start; row < end; row++) {
        const inHead = row % headDim;
        const from = row - inHead + (inHead % half) * 2 + Math.floor(inHead / half) - first;
        out.set(stored.subarray(from * rowBytes, (from + 1) * rowBytes), (row - start) * rowBytes);
      }
      return out;
    },
  };
}
