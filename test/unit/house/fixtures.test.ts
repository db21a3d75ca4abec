import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { filesBelow, ROOT } from "../../support/sources.ts";

/** The start of a path on somebody's machine, as configs and tools leave it behind. */
const MACHINE_PATH = /(?<![\w.:/-])\/(?:home|root|Users|tmp|var|opt|mnt|srv|work|workspace)\/[\w.-]+/;
/** Headers and texts lie at the start of a file; the tensors after them are noise. */
const LOOKED_AT = 1 << 18;

function machinePaths(folder: string): readonly string[] {
  return filesBelow(folder).flatMap(path => {
    const found = MACHINE_PATH.exec(readFileSync(join(ROOT, path)).subarray(0, LOOKED_AT).toString("latin1"));
    return found === null ? [] : [`${path}: ${found[0]}`];
  });
}

describe("fixtures", () => {
  it.each(["test/fixtures", "test/reference", "configs", "docs"])(
    "in %s contain no path of the machine that made them",
    folder => {
      expect(machinePaths(folder)).toEqual([]);
    },
  );

  it("would be caught with one", () => {
    expect(MACHINE_PATH.test('{"_name_or_path": "/home/me/model"}')).toBe(true);
    expect(MACHINE_PATH.test("https://example.org/home/me/model and lib/opt/x")).toBe(false);
  });
});
