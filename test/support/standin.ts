import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./sources.ts";
import { tempFolder } from "./temp-folder.ts";

export { fakePlan } from "./fake-plan.ts";

export interface StandInPlan {
  /** As in the banner: 101600 is 10.16.0. */
  readonly version?: string;
  readonly lines?: readonly string[];
  /** The engine's bytes; nothing is written without. */
  readonly engine?: Buffer;
  readonly exit?: number;
  readonly hang?: boolean;
  /** Starts a process that ignores SIGTERM, and writes its id to `helper.pid`. */
  readonly helper?: boolean;
  readonly ignoreTerm?: boolean;
}

/** A temporary directory with `bin/trtexec`, `bin/tensorrt_rtx` and the environment in which they are found. */
export class StandIn {
  readonly dir = tempFolder("standin");
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly engine = join(this.dir, "out", "model.engine");

  constructor(plan: StandInPlan, names: readonly string[] = ["trtexec", "tensorrt_rtx"]) {
    const bin = join(this.dir, "bin");
    mkdirSync(bin);
    for (const name of names) {
      const file = join(bin, name);
      writeFileSync(
        file,
        `#!/bin/sh\nexec "${process.execPath}" "${join(ROOT, "test/support/standins/trtexec.mjs")}" "$@"\n`,
      );
      chmodSync(file, 0o755);
    }
    const { engine, helper, ...rest } = plan;
    const told = {
      ...rest,
      record: join(this.dir, "record.jsonl"),
      ...(engine && { engine: engine.toString("base64") }),
      ...(helper && { child: join(this.dir, "helper.pid") }),
    };
    writeFileSync(join(this.dir, "plan.json"), JSON.stringify(told));
    this.env = {
      PATH: join(this.dir, "empty"),
      TENSORRT_ROOT: this.dir,
      TRT_STANDIN: join(this.dir, "plan.json"),
      SECRET_TOKEN: "s3cret",
    };
  }

  /** argv, the names of the environment and the process of each run. */
  runs(): readonly { readonly pid: number; readonly argv: readonly string[]; readonly env: readonly string[] }[] {
    return readFileSync(join(this.dir, "record.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map(line => JSON.parse(line));
  }
}
