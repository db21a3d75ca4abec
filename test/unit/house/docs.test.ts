import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { existingFiles, generatedFiles } from "../../../scripts/docs.ts";
import { ROOT } from "../../support/sources.ts";

const HINT = "run `npm run docs`";

describe("generated docs", async () => {
  const files = await generatedFiles();

  it("are what the tables in the source say today", () => {
    for (const [path, text] of files)
      expect(readFileSync(join(ROOT, path), "utf8"), `${path} is stale: ${HINT}`).toBe(text);
  });

  it("have no orphans", async () => {
    expect(
      (await existingFiles()).filter(path => !files.has(path)),
      HINT,
    ).toEqual([]);
  });

  it("name each option that a command's help shows", () => {
    expect(files.get("docs/reference/README.md")).toContain("`--config`");
    expect(files.get("docs/reference/explain.md")).toMatch(/`CODE\\\|LOG` or `--what`.*required.*`MMTRT_WHAT`/);
  });
});
