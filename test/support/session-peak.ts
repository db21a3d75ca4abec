// Opens an engine directory in a process of its own, runs the largest request that it takes and a few steps, and prints the
// highest resident size that the kernel saw, in MiB: node --import tsx session-peak.ts ENGINE_DIR
import { readFileSync } from "node:fs";
import { openSession } from "../../src/runtime/session.ts";

const STEPS = 3;
const session = await openSession(process.argv[2] ?? "", { threads: 2 });
const { llm, visual, manifest } = session.engine;
const { max_batch_size: batch, max_input_len: length } = llm.build_config as Readonly<Record<string, number>>;
const rows = Array.from({ length: batch as number }, (_, row) => row);
const [channels = 0, height = 0, width = 0] = visual?.image_shape ?? [];
const picture = { data: new Float32Array(channels * height * width).fill(0.3), height, width };
const features = visual && (await session.encodeImages(rows.map(() => picture)));
const own = (features?.rows ?? 0) / rows.length;
const { vocab_size: vocab } = manifest.model;
const prompts = rows.map(row =>
  Array.from({ length: length as number }, (_, i) => (i < own ? vocab + row * own + i : 5 + ((i * 7 + row) % 50))),
);
const decoding = await session.prefill(prompts, features);
for (let step = 0; step < STEPS; step++) await decoding.step(rows.map(() => 7));
const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
console.log(Math.round(Number(peak) / 1024));
