import { afterEach, describe, expect, it, vi } from "vitest";
import { Interruption } from "../../../src/cli/interruption.ts";
import { createUi } from "../../../src/cli/ui.ts";

let said = "";
function say(text: string): void {
  said += text;
}
const ui = createUi(
  { json: false, quiet: false, color: "never", noColor: true },
  { stdout: { write: () => true }, stderr: { write: say }, now: () => 0 },
);

afterEach(() => {
  said = "";
  vi.restoreAllMocks();
});

describe("Ctrl-C", () => {
  it.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("aborts the command's signal on %s and gives exit code %d", (signal, code) => {
    const interruption = new Interruption(() => ui);
    expect([interruption.signal.aborted, interruption.exitCode]).toEqual([false, undefined]);
    process.emit(signal, signal);
    expect([interruption.signal.aborted, interruption.exitCode]).toEqual([true, code]);
    expect((interruption.signal.reason as Error).name).toBe("AbortError");
    expect(said).toContain("stopping and cleaning up");
    interruption.close();
  });

  it("the second time ends the process at once", () => {
    const exit = vi.spyOn(process, "exit").mockImplementation(() => undefined as never);
    const interruption = new Interruption(() => ui);
    process.emit("SIGINT", "SIGINT");
    expect(exit).not.toHaveBeenCalled();
    process.emit("SIGINT", "SIGINT");
    expect(exit).toHaveBeenCalledExactlyOnceWith(130);
    interruption.close();
  });
});
