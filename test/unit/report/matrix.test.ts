import { describe, expect, it } from "vitest";
import type { CellResult, MatrixResult } from "../../../src/build/matrix/events.ts";
import { escapeXml, junitReport } from "../../../src/report/matrix/junit.ts";
import { markdownReport } from "../../../src/report/matrix/markdown.ts";

function cell(name: string, state: CellResult["state"], what?: string): CellResult {
  const problem = { code: "TRT011" as const, what: what ?? "", at: "a:1:2", why: "why", fix: "fix" };
  return {
    ...{ name, axes: { model: "a<b" }, state, dir: name, seconds: 1.5, engine_bytes: 989, memory_bytes: null },
    ...{ problems: what === undefined ? [] : [problem], warnings: [] },
  };
}

const RESULT: MatrixResult = {
  ...{ file: "m.yaml", version: "0.1.0", workers: 2, shard: "2/3", seconds: 19.25, steps: [] },
  cells: [
    cell("one", "built"),
    cell("two", "failed", 'a "quoted" <tag> & \u001b[31mred\u001b[0m | pipe'),
    cell("three", "skipped"),
  ],
};

describe("the JUnit report", () => {
  const text = junitReport(RESULT);

  it("has a case for each cell and the totals that CI servers read", () => {
    expect(text).toContain('<testsuite name="m.yaml" tests="3" failures="1" errors="0" skipped="1" time="19.250">');
    expect(text.match(/<testcase /g)).toHaveLength(3);
    expect(text).toContain('<testcase classname="a&lt;b" name="one" file="m.yaml" time="1.500"/>');
    expect(text).toContain('<skipped message="the run stopped before it"/>');
  });

  it("is XML whatever a tool printed: markup and colours of a terminal are text", () => {
    expect(text).toContain('type="TRT011" message="a &quot;quoted&quot; &lt;tag&gt; &amp; ?[31mred?[0m | pipe"');
    expect(escapeXml("\u0000\ud800\ufffe\u{1f600}é\t\r")).toBe("???\u{1f600}é\t\r");
    // Every tag that is opened is closed, in order.
    const open: string[] = [];
    for (const [, close, name = "", self] of text.matchAll(/<(\/?)(\w+)[^<>]*?(\/?)>/g)) {
      if (close) expect(open.pop()).toBe(name);
      else if (!self) open.push(name);
    }
    expect(open).toEqual([]);
  });
});

describe("the Markdown summary", () => {
  it("is a table of cells and a list of failures, in which nothing of theirs is markup", () => {
    const text = markdownReport(RESULT);
    expect(text).toContain("### Engine matrix, shard 2/3");
    expect(text).toContain("| `one` | ✅ built | 989 B |");
    expect(text).toContain('- `two` **TRT011** a "quoted" \\<tag\\> & ');
    expect(text).toContain("\\| pipe. fix");
  });
});
