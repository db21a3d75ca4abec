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

export interface Frame {
  readonly header: Header;
  /** Bytes of the header's tensors; a view of memory that nobody else writes. */
  readonly payload: Buffer;
}

/** Most bytes that a frame may announce. */
export interface FrameLimits {
  readonly header: number;
  readonly payload: number;
}

/** Frames out of a stream of bytes. `refuse` throws for what is none, before memory is kept for it. */
export class FrameReader {
  readonly #limits: FrameLimits;
  readonly #refuse: (what: string) => never;
  #waiting: Buffer[] = [];
  #bytes = 0;

  constructor(limits: FrameLimits, refuse: (what: string) => never) {
    this.#limits = limits;
    this.#refuse = refuse;
  }

  /** The frames that are whole with these bytes. */
  push(chunk: Uint8Array): readonly Frame[] {
    this.#waiting.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength));
    this.#bytes += chunk.byteLength;
    const frames: Frame[] = [];
    for (let frame = this.#take(); frame !== undefined; frame = this.#take()) frames.push(frame);
    return frames;
  }

  #take(): Frame | undefined {
    if (this.#bytes < PREFIX_BYTES) return undefined;
    const prefix = this.#peek(PREFIX_BYTES);
    if (prefix.toString("latin1", 0, MAGIC.length) !== MAGIC) this.#refuse("it does not begin with MTR1");
    const [length, payload] = [prefix.readUInt32LE(4), prefix.readBigUInt64LE(8)];
    if (length > this.#limits.header || payload > BigInt(this.#limits.payload))
      this.#refuse(`it announces ${length} and ${payload} bytes`);
    const total = PREFIX_BYTES + length + Number(payload);
    if (this.#bytes < total) return undefined;
    const whole = this.#peek(total).subarray(0, total);
    this.#bytes -= total;
    const rest = (this.#waiting[0] as Buffer).subarray(total);
    this.#waiting = rest.length === 0 ? this.#waiting.slice(1) : [rest, ...this.#waiting.slice(1)];
    const header = parse(whole.toString("utf8", PREFIX_BYTES, PREFIX_BYTES + length), this.#refuse);
    return { header, payload: whole.subarray(PREFIX_BYTES + length) };
  }

  /** At least the first bytes in one piece, which stays the first of what waits. */
  #peek(count: number): Buffer {
    if ((this.#waiting[0]?.length ?? 0) < count) this.#waiting = [Buffer.concat(this.#waiting)];
    return this.#waiting[0] as Buffer;
  }
}

/** Headers out of a stream of bytes: the runner sends no payload. Throws RUN050 for what is no frame. */
export class FrameParser {
  readonly #reader = new FrameReader({ header: MAX_HEADER, payload: 0 }, garbage);

  /** The headers that are whole with these bytes. */
  push(chunk: Uint8Array): readonly Header[] {
    return this.#reader.push(chunk).map(({ header }) => header);
  }
}

function parse(text: string, refuse: (what: string) => never): Header {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    refuse("its header is no JSON");
  }
  const kind = (value as { readonly kind?: unknown } | null)?.kind;
  return typeof kind === "string" ? (value as Header) : refuse("its header has no kind");
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
