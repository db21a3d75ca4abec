import { MmtrtError } from "../../diagnostics/index.ts";
import type { VisualEngineConfig } from "../../formats/engine-config.ts";
import { garbage, type Peer, problemMessage } from "../../toolchain/launch/peer.ts";
import type { Frame, SentTensor } from "../../toolchain/runner/frames.ts";
import { type OrtGraph, type OrtOptions, openGraph } from "../ort.ts";
import { encodeBatch, type OtherEncoder, visualBatch } from "./encode.ts";

/** Wider than any language model's rows; for an engine that does not say how wide its features are. */
const MOST_HIDDEN = 1 << 16;

/** Another process's visual engine, spoken to over `peer`. */
export function otherEncoder(peer: Peer, config: VisualEngineConfig): OtherEncoder {
  const width = config.io.find(({ name }) => name === "output")?.shape.at(-1) ?? -1;
  const hidden = width > 0 ? width : MOST_HIDDEN;
  let rows = 0;
  return {
    async start(tiles) {
      rows = tiles.length * config.num_visual_features;
      peer.takesPayload(rows * hidden * 4);
      await peer.send(
        { kind: "encode" },
        tiles.map((tile, i) => tensor(`tile ${i}`, tile)),
      );
    },
    async features() {
      const { header, payload } = await peer.receive();
      const isWhole = payload.length > 0 && payload.length % (rows * 4) === 0;
      if (header.kind !== "features" || !isWhole || (width > 0 && payload.length !== rows * width * 4))
        garbage("a process of the launcher", `features of ${rows} rows were asked for, ${payload.length} bytes came`);
      return floats(payload);
    },
  };
}

/**
 * Encodes what the first process sends until it has no more. A graph that cannot be opened or run is the first one's
 * problem to tell. Errors: RUN042 when it has ended, RUN043.
 */
export async function serveImages(
  peer: Peer,
  file: string,
  config: VisualEngineConfig,
  options: OrtOptions,
): Promise<void> {
  const [channels, height, width] = config.image_shape;
  const tileBytes = channels * height * width * 4;
  peer.takesPayload(tileBytes * visualBatch(config));
  let graph: OrtGraph | undefined;
  try {
    graph = await openGraph(file, options).catch((error: unknown) => report(peer, error));
    for (;;) {
      const frame = await peer.receive();
      if (frame.header.kind === "bye") return;
      const tiles = tilesIn(frame, tileBytes);
      if (graph === undefined) continue;
      // Who asks has the newline of an engine of its own.
      const encoded = await encodeBatch(graph, config, tiles).catch((error: unknown) => report(peer, error));
      if (encoded !== undefined) await peer.send({ kind: "features" }, [tensor("features", encoded.features)]);
    }
  } finally {
    peer.end();
    await graph?.close();
  }
}

/** Lets the other processes end. */
export async function dismiss(peers: readonly Peer[]): Promise<void> {
  // One that has ended needs no leave.
  await Promise.all(peers.map(peer => peer.send({ kind: "bye" }).catch(() => undefined)));
  for (const peer of peers) peer.end();
}

async function report(peer: Peer, error: unknown): Promise<undefined> {
  if (!(error instanceof MmtrtError)) throw error;
  await peer.send(problemMessage(error.problems));
}

function tilesIn({ header, payload }: Frame, tileBytes: number): readonly Float32Array[] {
  const count = payload.length / tileBytes;
  if (header.kind !== "encode" || count < 1 || !Number.isInteger(count))
    garbage("process 0 of the launcher", `a message ${header.kind.slice(0, 40)} with ${payload.length} bytes`);
  return Array.from({ length: count }, (_, i) => floats(payload.subarray(i * tileBytes, (i + 1) * tileBytes)));
}

function tensor(name: string, values: Float32Array): SentTensor {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return { name, dtype: "float32", shape: [values.length], bytes };
}

/** Bytes of this machine's order, which may lie at odd places, as numbers. */
function floats(bytes: Uint8Array): Float32Array {
  const values = new Float32Array(bytes.length / 4);
  new Uint8Array(values.buffer).set(bytes);
  return values;
}
