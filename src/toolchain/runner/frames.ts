import { fail } from "../../diagnostics/index.ts";

/**
 * Frames between mmtrt and its native runner, as native-plugins/runner/frame.h has them: "MTR1", bytes of the header (u32)
 * and of the payload (u64), little endian, a header in JSON, and the bytes of the header's tensors one after the other.
 */
const MAGIC = "MTR1";
const PREFIX_BYTES = 16;
/** Answers, timings and facts of a model; a batch of 256 answers of 100 000 tokens takes some 200 MB. */
const MAX_HEADER = 1 << 28;

export type Header = Readonly<Record<string, unknown>> & { readonly kind: string };

export interface SentTensor {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** As many as dtype and shape say. */
  readonly bytes: Uint8Array;
}

export function encodeFrame(header: Header, tensors: readonly SentTensor[] = []): readonly Uint8Array[] {
  const listed = tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape }));
  const text = Buffer.from(JSON.stringify(tensors.length === 0 ? header : { ...header, tensors: listed }));
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.write(MAGIC, "latin1");
  prefix.writeUInt32LE(text.length, 4);
  prefix.writeBigUInt64LE(BigInt(tensors.reduce((sum, { bytes }) => sum + bytes.byteLength, 0)), 8);
  return [prefix, text, ...tensors.map(({ bytes }) => bytes)];
}

/** Headers out of a stream of bytes: the runner sends no payload. Throws RUN050 for what is no frame. */
export class FrameParser {
  #waiting: Buffer[] = [];
  #bytes = 0;

  /** The headers that are whole with these bytes. */
  push(chunk: Uint8Array): readonly Header[] {
    this.#waiting.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength));
    this.#bytes += chunk.byteLength;
    const headers: Header[] = [];
    for (let header = this.#take(); header !== undefined; header = this.#take()) headers.push(header);
    return headers;
  }

  #take(): Header | undefined {
    if (this.#bytes < PREFIX_BYTES) return undefined;
    const prefix = this.#peek(PREFIX_BYTES);
    if (prefix.toString("latin1", 0, MAGIC.length) !== MAGIC) garbage("it does not begin with MTR1");
    const length = prefix.readUInt32LE(4);
    if (length > MAX_HEADER || prefix.readBigUInt64LE(8) !== 0n)
      garbage(`it announces ${length} and ${prefix.readBigUInt64LE(8)} bytes`);
    if (this.#bytes < PREFIX_BYTES + length) return undefined;
    const whole = this.#peek(PREFIX_BYTES + length);
    this.#bytes -= whole.length;
    const rest = (this.#waiting[0] as Buffer).subarray(whole.length);
    this.#waiting = rest.length === 0 ? [] : [rest];
    return parse(whole.toString("utf8", PREFIX_BYTES));
  }

  /** The first bytes in one piece, which stays the first of what waits. */
  #peek(count: number): Buffer {
    if ((this.#waiting[0]?.length ?? 0) < count) this.#waiting = [Buffer.concat(this.#waiting)];
    return (this.#waiting[0] as Buffer).subarray(0, count);
  }
}

function parse(text: string): Header {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    garbage("its header is no JSON");
  }
  const kind = (value as { readonly kind?: unknown } | null)?.kind;
  return typeof kind === "string" ? (value as Header) : garbage("its header has no kind");
}

function garbage(what: string): never {
  return fail({
    code: "RUN050",
    what: `what the runner sent is no message: ${what}`,
    at: "the runner's standard output",
    why: "mmtrt and its runner speak one version of their protocol, in frames whose sizes are said before",
    fix: "run `mmtrt plugins build` again with this version of mmtrt",
  });
}
