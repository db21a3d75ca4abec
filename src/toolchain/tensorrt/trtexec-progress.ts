import { parseTrtexecVersion } from "../machine.ts";
import type { EngineEvent, EngineProfile, Severity, ShapeRange } from "./request.ts";

/** `[11/22/2026-05:12:12] [I] [TRT] text`; the time and [TRT] may be missing. */
const LINE = /^(?:\[[\d/]+-[\d:]+\] )?\[(?<level>[FEWIV])\] (?:\[TRT\] )?(?<text>.*)$/s;
const SEVERITIES: Readonly<Record<string, Severity>> = {
  F: "internal_error",
  E: "error",
  W: "warning",
  I: "info",
  V: "verbose",
};

/** Lines that open a stage, and how far the build is then; between the last two lies most of the time. */
const STAGES: readonly { readonly text: RegExp; readonly phase: string; readonly percent: number }[] = [
  { text: /^Start parsing network model/, phase: "Parsing", percent: 0 },
  { text: /^Finish(?:ed)? parsing network model/, phase: "Preparing", percent: 2 },
  { text: /^(?:Local|Global) timing cache in use/, phase: "Optimizing graph", percent: 5 },
  {
    text: /^Compiler backend is used during engine build|^Detected \d+ inputs and \d+ output/,
    phase: "Timing tactics",
    percent: 10,
  },
  { text: /^Total (?:Host Persistent|Activation) Memory/, phase: "Assigning memory", percent: 90 },
  { text: /^Engine generation completed/, phase: "Serializing", percent: 95 },
  { text: /^Created engine with size/, phase: "Writing", percent: 98 },
  { text: /^Engine built in/, phase: "Done", percent: 100 },
];

/** What trtexec's output told besides its lines. */
export interface TrtexecFacts {
  /** "10.16.0", from the first line. */
  readonly version: string | undefined;
  readonly passed: boolean;
  readonly weights: number;
  readonly activation: number;
  readonly profiles: readonly EngineProfile[];
  readonly warnings: readonly string[];
}

/** Reads trtexec's output line by line; one reader a run. */
export class TrtexecReader {
  #version: string | undefined;
  #passed = false;
  #stage = -1;
  #memory = { weights: 0, activation: 0 };
  readonly #profiles: Record<string, ShapeRange>[] = [];
  readonly #warnings: string[] = [];

  /** The events of one line: none for the banner of options, which is the command line over again. */
  read(line: string): readonly EngineEvent[] {
    const banner = /^&&&& (RUNNING|PASSED|FAILED) \S+ \[TensorRT/.exec(line);
    if (banner !== null) {
      this.#version ??= parseTrtexecVersion({ stdout: line, stderr: "" });
      this.#passed = banner[1] === "PASSED";
      return [];
    }
    const { level = "", text = line } = LINE.exec(line)?.groups ?? {};
    const severity = SEVERITIES[level] ?? "info";
    if (severity === "warning") this.#warnings.push(text);
    this.#remember(text);
    return [{ event: "log", severity, text }, ...this.#progress(text)];
  }

  facts(names: readonly string[]): TrtexecFacts {
    return {
      version: this.#version,
      passed: this.#passed,
      ...this.#memory,
      profiles: this.#profiles.map((shapes, index) => ({ name: names[index] ?? String(index), shapes })),
      warnings: this.#warnings,
    };
  }

  #progress(text: string): readonly EngineEvent[] {
    const index = STAGES.findIndex(stage => stage.text.test(text));
    const stage = STAGES[index];
    if (stage === undefined || index <= this.#stage) return [];
    this.#stage = index;
    return [
      {
        event: "progress",
        phase: stage.phase,
        parent: undefined,
        step: index + 1,
        steps: STAGES.length,
        percent: stage.percent,
      },
    ];
  }

  #remember(text: string): void {
    const memory = /^Total (Weights|Activation) Memory: (\d{1,15}) bytes/.exec(text);
    if (memory !== null) {
      const kind = memory[1] === "Weights" ? "weights" : "activation";
      this.#memory[kind] = Math.max(this.#memory[kind], Number(memory[2]));
    }
    const range = /^Model input (.+) \(profile (\d{1,2})\): min=([\dx]*), opt=([\dx]*), max=([\dx]*)/.exec(text);
    if (range === null) return;
    const [, name = "", profile, min = "", opt = "", max = ""] = range;
    while (this.#profiles.length <= Number(profile)) this.#profiles.push({});
    (this.#profiles[Number(profile)] ?? {})[name] = { min: sizes(min), opt: sizes(opt), max: sizes(max) };
  }
}

function sizes(text: string): readonly number[] {
  return text === "" ? [] : text.split("x").map(Number);
}
