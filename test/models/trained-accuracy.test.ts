import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { Rig } from "../support/rig.ts";
import { ROOT } from "../support/sources.ts";

/** Half a point of accuracy is all that a float16 engine may lose to PyTorch in float32. */
const LOSS = 0.005;
/** Every model is asked about the same pictures. */
const HELD_OUT = "../../llava-shapes/heldout/questions.jsonl";
const DECODER = "--max_batch_size 8 --max_input_len 120 --max_seq_len 150";

const MODELS: readonly Trained[] = [
  { name: "llava-shapes", build: `${DECODER} --max_multimodal_len 648` },
  {
    name: "blip2-opt-shapes",
    build: "--max_batch_size 8 --max_input_len 80 --max_seq_len 110 --max_multimodal_len 72",
  },
  {
    name: "blip2-t5-shapes",
    build:
      "--max_batch_size 8 --max_multimodal_len 72 --max_encoder_input_len 60 --max_input_len 1 --max_output_len 39",
  },
  { name: "vila-shapes", build: `${DECODER} --max_multimodal_len 128` },
  // Images of different sizes: 28 or 40 features, and 16, 48 or 80.
  { name: "smolvlm-shapes", build: DECODER, knows: 0.93 },
  { name: "internvl-shapes", build: DECODER, knows: 0.74 },
  // Any number of features from 16 to 35, windows in the tower, positions on three axes.
  { name: "qwen2.5-vl-shapes", build: DECODER, knows: 0.94 },
  { name: "gpt2-shapes", build: "--max_batch_size 8 --max_input_len 90 --max_seq_len 120 --max_multimodal_len 288" },
  {
    name: "nougat-shapes",
    questions: "pages.jsonl",
    build: "--max_batch_size 8 --max_seq_len 56 --max_input_len 1 --max_encoder_input_len 84",
    run: ["--max_new_tokens", "54"],
  },
];

interface Trained {
  readonly name: string;
  readonly build: string;
  readonly run?: readonly string[];
  /** Accuracy in PyTorch, where it is not at least 0.97. */
  readonly knows?: number;
  /** The held-out file, where it does not ask questions. */
  readonly questions?: string;
}

interface Line {
  readonly image: string;
  readonly question?: string;
  readonly expected: string;
}

describe("mmtrt run --check_accuracy", () => {
  const rig = new Rig();
  afterAll(() => rig.close());

  it.each(MODELS)(
    "finds PyTorch's accuracy of $name in float16, over all it was not trained on",
    {
      timeout: 120_000,
    },
    async ({ name, build, run = [], questions = HELD_OUT, knows = 0.97 }) => {
      const model = join(ROOT, "test/fixtures/models", name);
      const heldOut = join(model, "heldout");
      const { answers } = JSON.parse(readFileSync(join(heldOut, "expected_hf.json"), "utf8")) as Expected;
      const asked = join(heldOut, questions);
      const lines = readFileSync(asked, "utf8")
        .trimEnd()
        .split("\n")
        .map(line => JSON.parse(line) as Line);
      // VILA's answers go on with a file of its own.
      const right = lines.filter(({ expected }, i) => answers[i]?.text === expected).length;
      const pytorch = right / lines.length;
      expect(pytorch).toBeGreaterThanOrEqual(knows);
      const absolute = lines.map(line => JSON.stringify({ ...line, image: resolve(dirname(asked), line.image) }));
      const file = rig.file(`${name}.jsonl`, absolute.join("\n"));

      const threshold = String(pytorch - LOSS);
      const commands = [
        ["convert", model, "--output_dir", `${name}/checkpoint`, "--dtype", "float16"],
        ["build", "--checkpoint_dir", `${name}/checkpoint`, "--output_dir", `${name}/engine`, ...build.split(" ")],
        [
          "run",
          "--engine_dir",
          `${name}/engine`,
          "--check_accuracy",
          file,
          "--batch_size",
          "8",
          "--accuracy_threshold",
          threshold,
          ...run,
        ],
      ];
      let said = "";
      for (const command of commands) {
        const { code, stdout, stderr } = await rig.run(command);
        expect(code, stdout + stderr).toBe(0);
        said = stdout;
      }
      expect(said).toMatch(new RegExp(`^accuracy [\\d.]+ % \\(\\d+ of ${lines.length}\\)$`, "m"));
    },
  );
});

interface Expected {
  readonly answers: readonly { readonly text: string }[];
}
