import { describe, expect, it } from "vitest";
import { CODES, exitCodeOf } from "../../../src/diagnostics/index.ts";
import { readSources } from "../../support/sources.ts";

const CODE = /["'`]([A-Z]{3}\d{3})["'`]/g;
const raised = new Map<string, string>();
for (const { path, text } of readSources()) {
  if (path.startsWith("src/diagnostics/codes")) continue;
  for (const [, code] of text.matchAll(CODE)) raised.set(code as string, path);
}

describe("problem codes", () => {
  it("that the source raises are all in the registry", () => {
    expect([...raised].filter(([code]) => !Object.hasOwn(CODES, code))).toEqual([]);
  });

  it("of the registry are all raised somewhere", () => {
    expect(Object.keys(CODES).filter(code => !raised.has(code))).toEqual([]);
  });

  it("have a title in one line, an explanation, and an exit code that DESIGN §7 knows", () => {
    for (const [code, { title, about }] of Object.entries(CODES)) {
      expect(title, code).toMatch(/^[^\n]{9,119}[^\n.]$/);
      expect(about.length, code).toBeGreaterThan(title.length / 2);
      expect([1, 2, 3, 4], code).toContain(exitCodeOf(code as keyof typeof CODES));
    }
  });
});
