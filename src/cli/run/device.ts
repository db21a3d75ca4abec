import { fail } from "../../diagnostics/index.ts";
import { openEngine } from "../../formats/engine-dir.ts";
import { pluginLibraries } from "../../formats/plugin-library.ts";
import { environment } from "../../options/env.ts";
import type { RunOptions } from "../../options/tables/run.ts";
import { Assistant } from "../../runtime/assistant.ts";
import { type DeviceSession, openDeviceSession } from "../../runtime/device/session.ts";
import { findRunner } from "../../toolchain/runner/find.ts";
import type { RunContext } from "./request.ts";

/** Whether the native runner does the work. */
export function usesRunner({ device, runner }: RunOptions): boolean {
  return device === "cuda" || runner !== undefined;
}

/** The engine directory in the native runner. Errors: RUN055, RUN056 and those of opening it. */
export async function openInRunner(dir: string, context: RunContext): Promise<Assistant<DeviceSession>> {
  const { options, origin, ui } = context;
  if (options.enable_kv_cache_reuse) refuseReuse(origin("enable_kv_cache_reuse"));
  const { manifest } = await openEngine(dir);
  const plugins = options.plugins ?? pluginLibraries(manifest.options)[0];
  const session = await openDeviceSession(dir, {
    runner: await findRunner(options.runner, plugins),
    env: environment(),
    device: options.device,
    deviceIndex: options.device_index,
    runtime: options.runtime,
    runtimeLibrary: options.runtime_library,
    plugins,
    recordsSteps: options.cuda_graph,
    threads: options.threads,
    loraDirs: options.lora_dir,
  });
  ui.info(`running in ${session.facts.runtime} on ${session.facts.device}`, { runner: session.facts });
  return Assistant.over(session);
}

function refuseReuse(at: string): never {
  return fail({
    code: "RUN056",
    what: "--enable_kv_cache_reuse is given with the native runner",
    at,
    why: "keys and values of earlier prompts are kept by the session of this process alone",
    fix: "leave out --enable_kv_cache_reuse, or --device cuda and --runner",
  });
}
