import { describe, expect, it } from "vitest";
import { Rig } from "../support/rig.ts";

describe("mmtrt explain", () => {
  it("takes a message as it was pasted, and names tensor, range and cure", async () => {
    const rig = new Rig();
    const message =
      "Set dimension [5,19] for tensor input_ids does not satisfy any optimization profiles. Valid range for profile 0: [1,1]..[4,989].";
    const { code, stdout } = await rig.run(["explain", message]);
    expect(code).toBe(0);
    expect(stdout).toBe(
      [
        "[TRT101]: input_ids was given [5,19]; the engine takes [1,1] to [4,989]",
        `  at   CODE|LOG (command line):1: ${message}`,
        "  why  At run time an input was given a size outside min…max of every optimization profile. The engine has no kernel planned for it.",
        "  fix  input_ids axis 0 is 5, profile 0 takes 1 to 4: build with a higher --max_batch_size, or ask for at most 4",
        "",
      ].join("\n"),
    );
  });
});
