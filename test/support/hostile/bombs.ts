import { closeSync, ftruncateSync, openSync, writeFileSync, writeSync } from "node:fs";
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expandMatrix } from "../../../src/build/matrix/expand.ts";
import { readMatrix } from "../../../src/build/matrix/read.ts";
import { openHf } from "../../../src/checkpoint/open.ts";
import { inspectOnnx } from "../../../src/cli/inspect/graphs.ts";
import { FilePool } from "../../../src/formats/file.ts";
import { openGgufFile } from "../../../src/formats/gguf.ts";
import { readJsonObject } from "../../../src/formats/json.ts";
import { openSafetensors } from "../../../src/formats/safetensors.ts";
import { openTorch } from "../../../src/formats/torch.ts";
import { decodeImage } from "../../../src/runtime/image/decode.ts";
import { readRequestFile } from "../../../src/runtime/request-file.ts";
import { renderChat } from "../../../src/runtime/text/chat.ts";
import { openTokenizer } from "../../../src/runtime/text/tokenizer.ts";
import { fixture, type Reader } from "./reader.ts";

/** A small file, or one of the largest size that is read, made to cost a reader far more than its size. */
export interface Bomb extends Omit<Reader, "prepare" | "form"> {
  make(dir: string): void | Promise<void>;
  /** What it fills until its time is over, in MiB above which it is too much; 300 where nothing is said. */
  readonly mebibytes?: number;
  /** What the problem says; absent where the file is read, with nothing wrong in it. */
  readonly says?: RegExp;
}

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
const u64 = (value: bigint | number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};
const text = (value: string): Buffer => Buffer.concat([u64(value.length), Buffer.from(value)]);

async function withPool<T>(use: (pool: FilePool) => Promise<T>): Promise<T> {
  const pool = new FilePool();
  try {
    return await use(pool);
  } finally {
    await pool.close();
  }
}

function weights(name: string, file: string, content: () => Buffer | string, says?: RegExp): Bomb {
  return {
    name,
    ...(says && { says }),
    make: dir => writeFileSync(join(dir, file), content()),
    read: dir =>
      withPool(async pool => {
        const path = join(dir, file);
        if (file.endsWith(".safetensors")) return openSafetensors(pool, path);
        return file.endsWith(".gguf") ? openGgufFile(pool, path) : openTorch(pool, path);
      }),
  };
}

function safetensors(header: string, length?: bigint): Buffer {
  return Buffer.concat([u64(length ?? header.length), Buffer.from(header)]);
}

function gguf(tensors: bigint | number, keys: bigint | number, ...rest: Buffer[]): Buffer {
  return Buffer.concat([Buffer.from("GGUF"), u32(3), u64(tensors), u64(keys), ...rest]);
}

/** The stream of pickles from before PyTorch 1.6, with `object` as what was saved. */
function legacy(...object: readonly (string | Buffer)[]): Buffer {
  const parts: (string | Buffer)[] = [
    "\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
    "\x80\x02M\xe9\x03.",
    "\x80\x02}X\x0d\0\0\0little_endian\x88s.",
  ];
  return Buffer.concat(
    [...parts, "\x80\x02", ...object].map(part => (typeof part === "string" ? Buffer.from(part, "latin1") : part)),
  );
}

function json(name: string, content: () => string, says?: RegExp): Bomb {
  return {
    name,
    ...(says && { says }),
    make: dir => writeFileSync(join(dir, "config.json"), content()),
    read: dir => readJsonObject(join(dir, "config.json")),
  };
}

function yaml(name: string, content: () => string, says: RegExp): Bomb {
  return {
    name,
    says,
    make: dir => writeFileSync(join(dir, "matrix.yaml"), content()),
    read: async dir => expandMatrix(await readMatrix(join(dir, "matrix.yaml"), "FILE")),
  };
}

/** Field `number` of a protobuf message with bytes in it. */
function field(number: number, content: Buffer): Buffer {
  return Buffer.concat([fieldHead(number, content.length), content]);
}

function fieldHead(number: number, length: number): Buffer {
  const varint = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)]);
  return Buffer.from([...varint((number << 3) | 2), ...varint(length)]);
}

function onnx(name: string, graph: () => Buffer, says?: RegExp): Bomb {
  const head = Buffer.concat([Buffer.from([0x08, 10]), field(8, Buffer.from([0x10, 23]))]);
  return {
    name,
    ...(says && { says }),
    make: dir => writeFileSync(join(dir, "model.onnx"), Buffer.concat([head, field(7, graph())])),
    read: dir => inspectOnnx(join(dir, "model.onnx"), { tensors: true }),
  };
}

function nestedGraphs(depth: number): Buffer {
  // From the inside out, GraphProto.node.attribute.g each; copied once, or making it would take longer than reading it.
  const heads: Buffer[] = [];
  let length = 0;
  for (let i = 0; i < 3 * depth; i++) {
    const head = fieldHead([6, 5, 1][i % 3] as number, length);
    heads.push(head);
    length += head.length;
  }
  return Buffer.concat(heads.reverse());
}

const TOKENIZER = {
  version: "1.0",
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: null,
  post_processor: null,
  decoder: null,
  model: { type: "BPE", vocab: { a: 0, b: 1 }, merges: [] },
};

function tokenizer(name: string, change: object, words: string): Bomb {
  return {
    name,
    says: /RUN006/,
    make: dir => writeFileSync(join(dir, "tokenizer.json"), JSON.stringify({ ...TOKENIZER, ...change })),
    read: async dir => (await openTokenizer(dir)).encode(words),
  };
}

function template(name: string, words: string): Bomb {
  return {
    name,
    // The library's range makes its list at once; the clock stops it.
    mebibytes: 2000,
    says: /RUN007/,
    make: dir => writeFileSync(join(dir, "tokenizer.json"), JSON.stringify(TOKENIZER)),
    read: async dir =>
      renderChat(
        { file: "chat_template.jinja", text: words },
        [{ role: "user", content: "q" }],
        await openTokenizer(dir),
      ),
  };
}

/** A file of `size` bytes that takes no room on the disk, with `parts` written into it. */
function sparse(path: string, size: number, parts: readonly (readonly [at: number, bytes: Buffer])[]): void {
  const handle = openSync(path, "w");
  ftruncateSync(handle, size);
  for (const [at, bytes] of parts) writeSync(handle, bytes, 0, bytes.length, at);
  closeSync(handle);
}

const ENTRY = (name: number): string => `"t${name}":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`;
const MILLION = Array.from({ length: 1_000_000 }, (_, i) => i);

export const BOMBS: readonly Bomb[] = [
  weights("safetensors: a header of 2^63 bytes", "a.safetensors", () => safetensors("{}", 2n ** 63n), /CKP006/),
  weights(
    "safetensors: a million tensors",
    "a.safetensors",
    () => safetensors(`{${MILLION.map(ENTRY).join()}}`),
    /CKP006/,
  ),
  weights(
    "safetensors: 48 million brackets",
    "a.safetensors",
    () => safetensors(`{"a":[${"[],".repeat(16_000_000)}[]]}`),
    /CKP008/,
  ),
  weights(
    "safetensors: brackets 50 000 deep",
    "a.safetensors",
    () => safetensors(`{"a":${"[".repeat(50_000)}`),
    /CKP008/,
  ),
  weights(
    "safetensors: a name twice",
    "a.safetensors",
    () => safetensors(`{${ENTRY(1)},${ENTRY(1)}}`),
    /CKP008.*twice/s,
  ),
  weights(
    "safetensors: a shape whose product overflows",
    "a.safetensors",
    () => safetensors('{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}'),
    /CKP010/,
  ),
  weights(
    "safetensors: a shape of 1e999",
    "a.safetensors",
    () => safetensors('{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,0]}}'),
    /CKP010/,
  ),
  weights(
    "safetensors: a shape of a million axes",
    "a.safetensors",
    () => safetensors(`{"a":{"dtype":"F32","shape":[${"1,".repeat(1_000_000)}1],"data_offsets":[0,4]}}    `),
    /CKP008/,
  ),
  weights("GGUF: 2^64 - 1 tensors", "a.gguf", () => gguf(2n ** 64n - 1n, 0), /CKP016/),
  weights("GGUF: a million tensors that are not there", "a.gguf", () => gguf(1_000_000, 0), /CKP016/),
  weights(
    "GGUF: an array of 2^63 values",
    "a.gguf",
    () => gguf(0, 1, text("a"), u32(9), u32(0), u64(2n ** 63n)),
    /CKP016/,
  ),
  weights(
    "GGUF: 8 million empty arrays",
    "a.gguf",
    () => gguf(0, 1, text("a"), u32(9), u32(9), u64(5_000_000), Buffer.alloc(12 * 5_000_000)),
    /CKP016/,
  ),
  weights(
    "GGUF: 2.4 million empty texts",
    "a.gguf",
    () => gguf(0, 1, text("a"), u32(9), u32(8), u64(2_400_000), Buffer.alloc(8 * 2_500_000)),
    undefined,
  ),
  weights("pickle: two million empty dicts", "a.bin", () => legacy("}".repeat(2_500_000)), /CKP013/),
  weights(
    "pickle: a list that OrderedDict copies again and again",
    "a.bin",
    () =>
      legacy(
        "]q\0(",
        "X\x01\0\0\0aN\x86".repeat(30_000),
        "e0",
        "ccollections\nOrderedDict\nq\x01",
        "h\x01h\0\x85R0".repeat(30_000),
        ".",
      ),
    /CKP013/,
  ),
  weights(
    "pickle: dicts that hold one another twice, 60 deep",
    "a.bin",
    () =>
      legacy(
        "]q\0",
        Array.from(
          { length: 60 },
          (_, i) => `]q${String.fromCharCode(i + 1)}h${String.fromCharCode(i)}ah${String.fromCharCode(i)}a`,
        ).join(""),
        ".",
        "\x80\x02].",
      ),
    /CKP012/,
  ),
  weights("pickle: code", "a.bin", () => legacy("cposix\nsystem\nX\x04\0\0\0echo\x85R."), /CKP014.*posix\.system/s),
  weights("pickle: an integer of 4 GB", "a.bin", () => legacy("\x8b\xff\xff\xff\xff"), /CKP013/),
  weights("pickle: a text of 2^64 bytes", "a.bin", () => legacy("\x8d", "\xff".repeat(8)), /CKP005/),
  weights("pickle: 60 MB of one digit", "a.bin", () => legacy("I", "1".repeat(60_000_000), "\n."), /CKP013/),
  json("JSON: 22 million empty lists", () => `{"a":[${"[],".repeat(22_000_000)}0]}`, /CKP008/),
  json("JSON: 7 million empty objects", () => `{"a":[${"{},".repeat(7_000_000)}0]}`, /CKP008/),
  json(
    "JSON: half a million keys",
    () =>
      `{${MILLION.slice(0, 500_000)
        .map(i => `"k${i}":0`)
        .join()}}`,
  ),
  json("JSON: one number of 60 MB", () => `{"a":${"1".repeat(60_000_000)}}`),
  json("JSON: escapes of 60 MB", () => `{"a":"${"\\n".repeat(30_000_000)}"}`),
  yaml(
    "YAML: aliases of aliases",
    () =>
      `a: &a [x,x,x,x,x,x,x,x,x]\n${[..."bcdefghi"].map((c, i) => `${c}: &${c} [${Array(9).fill(`*${"abcdefghi"[i]}`).join()}]\n`).join("")}`,
    /CFG006/,
  ),
  yaml("YAML: brackets 200 000 deep", () => "[".repeat(200_000), /CFG006/),
  yaml("YAML: dashes 100 000 deep", () => "- ".repeat(100_000), /CFG006/),
  yaml(
    "YAML: keys that are merged 4000 times",
    () => `a: &a {b: 1}\nc:\n${"  <<: *a\n".repeat(4_000)}`,
    /CFG006|CFG005/,
  ),
  yaml(
    "YAML: a product of 10^9 cells",
    () =>
      `models: {m: x}\nmatrix:\n${["max_batch_size", "max_input_len", "max_seq_len"].map(key => `  ${key}: [${MILLION.slice(2, 1002).join()}]`).join("\n")}\n`,
    /MTX/,
  ),
  yaml(
    "YAML: 20 000 unknown keys",
    () =>
      MILLION.slice(0, 20_000)
        .map(i => `k${i}: 0\n`)
        .join(""),
    /CFG006/,
  ),
  onnx("ONNX: graphs 30 000 deep", () => nestedGraphs(30_000), /CKP060/),
  onnx("ONNX: 5 million empty nodes", () => Buffer.from("0a00".repeat(5_000_000), "hex"), /CKP060/),
  onnx("ONNX: weights elsewhere", () =>
    field(
      5,
      Buffer.concat([
        Buffer.from([0x70, 1]),
        field(13, Buffer.concat([field(1, Buffer.from("location")), field(2, Buffer.from("../../../../etc/passwd"))])),
      ]),
    ),
  ),
  tokenizer(
    "tokenizer: a pattern that backtracks for ever",
    { pre_tokenizer: { type: "Split", pattern: { Regex: "(a+)+$" }, behavior: "Isolated", invert: false } },
    `${"a".repeat(60)}b`,
  ),
  template("template: a loop of 10^9 rounds", "{% for i in range(1000000000) %}{% endfor %}"),
  template(
    "template: loops in loops",
    "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}",
  ),
  template(
    "template: a text that doubles",
    "{% set ns = namespace(t='aaaaaaaa') %}{% for i in range(40) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t }}",
  ),
  {
    name: "requests: 20 million empty lines",
    says: /RUN014/,
    make: dir => writeFileSync(join(dir, "requests.jsonl"), "\n".repeat(20_000_000)),
    read: dir => readRequestFile(join(dir, "requests.jsonl")),
  },
  {
    name: "requests: a million wrong lines",
    says: /CKP008/,
    make: dir => writeFileSync(join(dir, "requests.jsonl"), "x\n".repeat(1_000_000)),
    read: dir => readRequestFile(join(dir, "requests.jsonl")),
  },
  {
    name: "safetensors: a file of 9 TB with a header of 100 MB",
    says: /CKP006/,
    make: dir =>
      sparse(join(dir, "a.safetensors"), 9e12, [[0, Buffer.concat([u64(100_000_000), Buffer.from(" ".repeat(20))])]]),
    read: dir => withPool(pool => openSafetensors(pool, join(dir, "a.safetensors"))),
  },
  {
    name: "a .bin that is a zip of nothing but its end",
    says: /CKP012/,
    make: dir =>
      writeFileSync(
        join(dir, "a.bin"),
        Buffer.concat([
          Buffer.from("PK\x05\x06"),
          Buffer.alloc(6),
          Buffer.from([0xff, 0xff, 0xff, 0xff]),
          u32(0),
          u32(0),
          Buffer.alloc(2),
        ]),
      ),
    read: dir => withPool(pool => openTorch(pool, join(dir, "a.bin"))),
  },
  {
    name: "a .bin whose entries are compressed",
    says: /CKP012.*compressed/s,
    make: () => undefined,
    read: () => withPool(pool => openTorch(pool, fixture("formats/compressed.bin"))),
  },
  {
    name: "an index that leads out of its directory",
    says: /CKP020.*leads out/s,
    make: async dir => {
      await writeFile(join(dir, "config.json"), "{}");
      await writeFile(
        join(dir, "model.safetensors.index.json"),
        '{"weight_map": {"a": "../../etc/passwd", "b": "/etc/passwd", "c": "a/../../b"}}',
      );
    },
    read: async dir => (await openHf(dir)).close(),
  },
  {
    name: "weights that are a link to a directory",
    says: /CKP002/,
    make: async dir => {
      await mkdir(join(dir, "elsewhere"));
      await writeFile(join(dir, "config.json"), "{}");
      await symlink("elsewhere", join(dir, "model.safetensors"));
    },
    read: async dir => (await openHf(dir)).close(),
  },
  {
    name: "a picture of 2^31 pixels in 100 bytes",
    says: /RUN00[12]/,
    make: dir => {
      const chunk = (type: string, data: Buffer): Buffer =>
        Buffer.concat([Buffer.from(u32(data.length)).reverse(), Buffer.from(type), data, Buffer.alloc(4)]);
      const size = Buffer.alloc(13);
      size.writeUInt32BE(46_340);
      size.writeUInt32BE(46_340, 4);
      size.set([8, 6, 0, 0, 0], 8);
      writeFileSync(
        join(dir, "a.png"),
        Buffer.concat([
          Buffer.from("\x89PNG\r\n\x1a\n", "latin1"),
          chunk("IHDR", size),
          chunk("IDAT", Buffer.alloc(9)),
          chunk("IEND", Buffer.alloc(0)),
        ]),
      );
    },
    read: dir => decodeImage(join(dir, "a.png")),
  },
];
