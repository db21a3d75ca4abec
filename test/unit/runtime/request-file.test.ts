import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { MmtrtError } from "../../../src/diagnostics/index.ts";
import { readRequestFile } from "../../../src/runtime/request-file.ts";

const dir = mkdtempSync(join(tmpdir(), "mmtrt-test-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function file(...lines: readonly string[]): string {
  const path = join(dir, "requests.jsonl");
  writeFileSync(path, lines.join("\n"));
  return path;
}

async function problemsOf(path: string): Promise<readonly string[]> {
  const error = await readRequestFile(path).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof MmtrtError)) throw new Error("nothing was refused");
  return error.problems.map(({ code, what }) => `${code} ${what.replaceAll(dir, "<dir>")}`);
}

describe("a file of requests", () => {
  it("is read line by line, with images beside it, several or none, and empty lines skipped", async () => {
    const path = file(
      '{"input_text": "which city?", "image": "a.png"}',
      "",
      '{"input_ids": [1, 19, 989]}\r',
      '{"images": ["/b.png", "c/d.png"], "input_text": ""}',
      '{"image": "page.png"}',
    );
    expect(await readRequestFile(path)).toEqual([
      { line: 1, prompt: "which city?", images: [join(dir, "a.png")] },
      { line: 3, prompt: [1, 19, 989], images: [] },
      { line: 4, prompt: "", images: ["/b.png", join(dir, "c/d.png")] },
      { line: 5, prompt: "", images: [join(dir, "page.png")] },
    ]);
  });

  it("is refused with every line that is not usable", async () => {
    const path = file(
      '{"question": "which city?"}',
      "[1, 2]",
      '{"input_text": 7}',
      '{"input_text": "a", "input_ids": [1]}',
      '{"input_ids": [1.5]}',
      '{"input_ids": []}',
      '{"input_text": "a", "image": [7]}',
      "{}",
      '{"input_text": "fine"}',
      '{"input_text": "cut',
    );
    const problems = await problemsOf(path);
    expect(problems.slice(0, 8)).toEqual([
      "RUN014 <dir>/requests.jsonl:1 has question; expected input_text, input_ids, image, images",
      "RUN014 <dir>/requests.jsonl:2 is not an object",
      "RUN014 <dir>/requests.jsonl:3 has an input_text that is not a string",
      "RUN014 <dir>/requests.jsonl:4 has both input_text and input_ids",
      "RUN014 <dir>/requests.jsonl:5 has input_ids that are not a list of whole numbers",
      "RUN014 <dir>/requests.jsonl:6 has input_ids that are not a list of whole numbers",
      "RUN014 <dir>/requests.jsonl:7 has an image that is not a string or list of strings",
      "RUN014 <dir>/requests.jsonl:8 has no input_text",
    ]);
    expect(problems[8]).toMatch(/^CKP008 /);
    expect(problems).toHaveLength(9);
  });

  it("is refused where it is empty, a directory, or not there", async () => {
    expect(await problemsOf(file("", "  "))).toEqual(["RUN014 <dir>/requests.jsonl holds no requests"]);
    expect(await problemsOf(dir)).toEqual([expect.stringMatching(/^RUN014 <dir> is not a file of at most \d+ bytes$/)]);
    expect(await problemsOf(join(dir, "none"))).toEqual(["RUN014 <dir>/none cannot be read"]);
  });
});
