import { describe, expect, it } from "vitest";
import { formatAmount, formatSeconds } from "../../../src/cli/ui/progress.ts";
import { createUi, formatTable, type Ui, type UiOptions } from "../../../src/cli/ui.ts";
import type { Problem } from "../../../src/diagnostics/index.ts";

const problem: Problem = {
  code: "CFG001",
  what: "unknown flag --x",
  at: "--x (command line)",
  why: "because",
  fix: "leave it out",
};

interface Screen {
  readonly ui: Ui;
  out: string;
  err: string;
  now: number;
}

function screen(options: Partial<UiOptions> = {}, tty = false, columns = 60): Screen {
  const seen = { out: "", err: "", now: 0 };
  const write = (stream: "out" | "err", text: string): void => {
    seen[stream] += text;
  };
  const terminal = {
    stdout: { isTTY: tty, write: (text: string) => write("out", text) },
    stderr: { isTTY: tty, columns, write: (text: string) => write("err", text) },
    now: () => seen.now,
  };
  return Object.assign(seen, {
    ui: createUi({ json: false, quiet: false, color: "auto", noColor: false, ...options }, terminal),
  });
}

describe("text output", () => {
  it("puts results on stdout and everything else on stderr", () => {
    const s = screen();
    s.ui.info("by the way");
    s.ui.result("the answer", { answer: 1 });
    s.ui.warn(problem);
    s.ui.error(problem);
    s.ui.event("hidden", {});
    expect(s.out).toBe("the answer\n");
    const lines = "  at   --x (command line)\n  why  because\n  fix  leave it out\n";
    expect(s.err).toBe(
      `by the way\nwarning[CFG001]: unknown flag --x\n${lines}error[CFG001]: unknown flag --x\n${lines}`,
    );
  });

  it("keeps warnings and errors when quiet", () => {
    const s = screen({ quiet: true });
    s.ui.info("by the way");
    s.ui.progress({ id: "a", label: "a", done: 5, total: 10 });
    s.ui.warn(problem);
    s.ui.result("the answer", {});
    expect(s.err).toMatch(/^warning\[CFG001\]/);
    expect(s.out).toBe("the answer\n");
  });

  it.each([
    [{}, true, true],
    [{}, false, false],
    [{ noColor: true }, true, false],
    [{ noColor: true, color: "always" }, false, true],
    [{ color: "never" }, true, false],
  ] as const)("with %j on a terminal %s colours the head of a problem: %s", (options, tty, colored) => {
    const s = screen(options, tty);
    s.ui.error(problem);
    expect(s.err.startsWith("\u001b[1;31merror[CFG001]\u001b[0m: ")).toBe(colored);
    expect(s.err.includes("\u001b")).toBe(colored);
  });

  it("ends a streamed line before anything else is written", () => {
    const s = screen();
    for (const piece of ["a red", " circle", ""]) s.ui.stream(piece);
    s.ui.result("done", {});
    s.ui.stream("next\n");
    s.ui.result("done", {});
    expect(s.out).toBe("a red circle\ndone\nnext\ndone\n");
  });
});

describe("--json", () => {
  it("is one object a line on stdout and nothing on stderr", () => {
    const s = screen({ json: true }, true);
    s.ui.info("by the way", { key: 1 });
    s.ui.progress({ id: "a", label: "a", done: 1, total: 19, unit: "B" });
    s.ui.stream("a\nred");
    s.ui.event("plan", { engines: [] });
    s.ui.warn(problem);
    s.ui.error(problem);
    s.ui.bug("Error: x", { mmtrt: "1" });
    s.ui.result("the answer", { answer: 989 });
    expect(s.err).toBe("");
    expect(
      s.out
        .trimEnd()
        .split("\n")
        .map(line => JSON.parse(line) as unknown),
    ).toEqual([
      { event: "info", message: "by the way", key: 1 },
      { event: "progress", id: "a", label: "a", done: 1, total: 19, unit: "B" },
      { event: "text", text: "a\nred" },
      { event: "plan", engines: [] },
      { event: "warning", ...problem },
      { event: "error", ...problem },
      { event: "bug", stack: "Error: x", mmtrt: "1" },
      { event: "result", answer: 989 },
    ]);
  });
});

describe("progress", () => {
  it("is a line at every tenth where there is no terminal", () => {
    const s = screen();
    for (let done = 0; done <= 100; done++) {
      s.now = done * 100;
      s.ui.progress({ id: "a", label: "rank 0", done: done * 1e7, total: 1e9, unit: "B" });
    }
    const lines = s.err.trimEnd().split("\n");
    expect(lines).toHaveLength(10);
    expect(lines[0]).toBe("rank 0  10 %  100 MB of 1 GB  100 MB/s  ETA 9.0 s");
    expect(lines[9]).toBe("rank 0  1 GB in 10 s");
  });

  it("is the summary alone of a task of less than a second", () => {
    const s = screen();
    for (let done = 0; done <= 19; done++) {
      s.now = done * 50;
      s.ui.progress({ id: "a", label: "rank 0", done, total: 19 });
    }
    expect(s.err).toBe("rank 0  19 in 0.9 s\n");
  });

  it("of nothing is done at once", () => {
    const s = screen();
    s.ui.progress({ id: "a", label: "a", done: 0, total: 0, unit: "B" });
    expect(s.err).toBe("a  0 B in 0.0 s\n");
  });
});

describe("formats", () => {
  it("aligns numbers right and texts left, without trailing spaces", () => {
    expect(
      formatTable(
        ["name", "rows", "note"],
        [
          ["a", 989, "x"],
          ["long", 1.5, undefined],
          ["é", undefined, "y"],
        ],
      ),
    ).toBe(["name  rows  note", "a      989  x", "long   1.5", "é           y"].join("\n"));
    expect(formatTable(["only", "head"], [])).toBe("only  head");
  });

  it.each([
    [0, "B", "0 B"],
    [999, "B", "999 B"],
    [1000, "B", "1 kB"],
    [1.2345e9, "B", "1.23 GB"],
    [989, "layers", "989 layers"],
    [3, undefined, "3"],
  ])("writes %d %s as %s", (amount, unit, text) => {
    expect(formatAmount(amount, unit)).toBe(text);
  });

  it.each([
    [0.04, "0.0 s"],
    [9.94, "9.9 s"],
    [59.4, "59 s"],
    [185, "3 min 05 s"],
    [7260, "2 h 01 min"],
  ])("writes %d seconds as %s", (seconds, text) => {
    expect(formatSeconds(seconds)).toBe(text);
  });
});
