import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Progress, ProgressView } from "../../../src/cli/ui/progress.ts";
import { VirtualTerminal } from "../../support/virtual-terminal.ts";

const views: ProgressView[] = [];

function onTerminal(columns = 60) {
  const stderr = new VirtualTerminal(columns);
  const clock = { now: 0 };
  const view = new ProgressView({ stdout: { write: () => true }, stderr, now: () => clock.now });
  views.push(view);
  const show = async (at: number, progress: Progress): Promise<void> => {
    clock.now = at;
    view.show(progress);
    await view.drawn;
  };
  return { stderr, view, show };
}

// ora draws at its own pace.
beforeEach(() => void vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "Date"] }));

// A bar that is left drawn would go on in the next test.
afterEach(() => {
  for (const view of views.splice(0)) view.hide();
  vi.useRealTimers();
});

describe("bars on a terminal", () => {
  it("stand under one another, cut before the line wraps, and leave a summary", async () => {
    const { stderr, show } = onTerminal();
    await show(0, { id: "a", label: "rank 0", done: 0, total: 19 });
    await show(1000, { id: "b", label: "rank 1", done: 0, total: 3 });
    await show(2000, { id: "a", label: "rank 0", done: 5, total: 19, unit: "layers" });
    vi.advanceTimersByTime(80);
    const [first = "", ...rest] = stderr.screen.split("\n");
    expect(first).toMatch(/^\S rank 0 {2}█{6}░{18} {2}26 % {2}5 layers of 19 la$/);
    expect(rest).toEqual(["  rank 1  ░░░░░░░░░░░░░░░░░░░░░░░░   0 %  3"]);
    expect(stderr.cursorHidden).toBe(true);
    await show(3000, { id: "a", label: "rank 0", done: 19, total: 19, unit: "layers" });
    const lines = stderr.screen.split("\n");
    expect(lines[0]).toBe("rank 0  19 layers in 3.0 s");
    expect(lines[1]).toMatch(/^\S rank 1 {2}░{24} {3}0 % {2}3$/);
    expect(lines).toHaveLength(2);
  });

  it("make way for other text, give the cursor back, and come again", async () => {
    const { stderr, view, show } = onTerminal();
    await show(0, { id: "a", label: "rank 0", done: 1, total: 989 });
    view.hide();
    expect(stderr.screen).toBe("");
    expect(stderr.cursorHidden).toBe(false);
    stderr.write("by the way\n");
    await show(1, { id: "a", label: "rank 0", done: 2, total: 989 });
    const [first, second] = stderr.screen.split("\n");
    expect(first).toBe("by the way");
    expect(second).toContain("rank 0");
  });

  it("that were taken off before their code was there are not drawn", async () => {
    const { stderr, view } = onTerminal();
    view.show({ id: "a", label: "rank 0", done: 1, total: 19 });
    view.hide();
    await view.drawn;
    expect(stderr.screen).toBe("");
    expect(stderr.cursorHidden).toBe(false);
  });

  it("are made anew at most every 80 ms", async () => {
    const { stderr, show } = onTerminal();
    await show(0, { id: "a", label: "a", done: 1, total: 19 });
    await show(79, { id: "a", label: "a", done: 18, total: 19 });
    vi.advanceTimersByTime(80);
    expect(stderr.screen).toContain("  5 %");
    await show(80, { id: "a", label: "a", done: 18, total: 19 });
    vi.advanceTimersByTime(80);
    expect(stderr.screen).toContain(" 94 %");
  });

  it("are plain lines where the terminal has no size, as under script(1) and in some containers", async () => {
    const { stderr, show } = onTerminal(0);
    await show(0, { id: "a", label: "rank 0", done: 0, total: 19 });
    await show(2000, { id: "a", label: "rank 0", done: 10, total: 19 });
    await show(3000, { id: "a", label: "rank 0", done: 19, total: 19 });
    expect(stderr.cursorHidden).toBe(false);
    expect(stderr.text).toBe("rank 0  50 %  10 of 19  5/s  ETA 1.8 s\nrank 0  19 in 3.0 s\n");
  });
});
