import { execFileSync } from "node:child_process";
import { cp, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { recognise } from "../../../src/cli/inspect/recognise.ts";
import { findChatTemplate } from "../../../src/runtime/text/chat.ts";
import { openTokenizer } from "../../../src/runtime/text/tokenizer.ts";
import { convertTo, Workspace } from "../pipeline.ts";
import type { Bomb } from "./bombs.ts";
import { fixture, parity } from "./reader.ts";

/** A model whose tokenizer.json is something else than a file of its size. */
function tokenizerThatIs(what: string, make: (file: string) => Promise<unknown> | undefined, says: RegExp): Bomb {
  return {
    name: `converting a model whose tokenizer is ${what}`,
    says,
    make: async dir => {
      await cp(parity("llama_gqa"), dir, { recursive: true });
      await rm(join(dir, "tokenizer.json"), { force: true });
      await make(join(dir, "tokenizer.json"));
    },
    read: async dir => {
      const work = new Workspace();
      try {
        await convertTo(work, dir);
      } finally {
        await work.clean();
      }
    },
  };
}

const pipe = (file: string): undefined => void execFileSync("mkfifo", [file]);

/** What waits for ever or never ends when it is opened without a look. */
export const PIPES: readonly Bomb[] = [
  tokenizerThatIs("a pipe", pipe, /CKP002.*not a regular file/s),
  tokenizerThatIs("a device without an end", file => symlink("/dev/zero", file), /CKP002.*not a regular file/s),
  tokenizerThatIs(
    "a file of a terabyte",
    async file => {
      await writeFile(file, "{}");
      await truncate(file, 2 ** 40);
    },
    /CKP002.*at most/s,
  ),
  {
    name: "a chat template that is a pipe",
    says: /RUN007.*not a regular file/s,
    make: async dir => {
      await cp(fixture("tokenizers/gpt2"), dir, { recursive: true });
      await rm(join(dir, "chat_template.jinja"), { force: true });
      pipe(join(dir, "chat_template.jinja"));
    },
    read: async dir => findChatTemplate(dir, await openTokenizer(dir)),
  },
  {
    name: "a pipe to inspect",
    says: /CKP002.*not a regular file/s,
    make: dir => pipe(join(dir, "model.onnx")),
    read: dir => recognise(join(dir, "model.onnx")),
  },
];
