import { access, constants } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { BuildEvent } from "../build/events.ts";
import type { BuildPlan } from "../build/plan.ts";
import { planStatistics } from "../build/statistics.ts";
import { asOutputProblem, writeText } from "../checkpoint/files.ts";
import { renderReport } from "../report/page.ts";
import type { BuildResult } from "../report/result.ts";

/** Collects what a build tells and writes the page of --report at its end. Errors: CKP009. */
export class BuildReport {
  readonly #file: string;
  readonly #plan: BuildPlan;
  readonly #steps: { id: string; seconds: number }[] = [];
  #result: BuildResult | null = null;

  private constructor(file: string, plan: BuildPlan) {
    this.#file = file;
    this.#plan = plan;
  }

  /** Asks for a place that can be written before hours are spent on a build. */
  static async open(file: string, plan: BuildPlan): Promise<BuildReport> {
    await access(dirname(resolve(file)), constants.W_OK).catch((error: unknown) => {
      throw asOutputProblem(file, error);
    });
    return new BuildReport(file, plan);
  }

  add(event: BuildEvent): void {
    if (event.event === "step" && event.state === "done") this.#steps.push({ id: event.id, seconds: event.seconds });
    if (event.event !== "built") return;
    const { engines, written_bytes, linked_bytes, seconds } = event;
    this.#result = { steps: this.#steps, engines, written_bytes, linked_bytes, seconds };
  }

  async write(): Promise<void> {
    const statistics = await planStatistics(this.#plan);
    const page = renderReport({ plan: this.#plan, statistics, result: this.#result, date: new Date() });
    await writeText(this.#file, page);
  }
}
