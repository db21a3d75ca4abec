import { resolve } from "node:path";
import type { BuiltEngine, EngineManifest, EngineTarget } from "../formats/engine-config.ts";
import type { EngineReport } from "../toolchain/tensorrt/request.ts";
import type { BuildPlan } from "./plan.ts";
import { logOf } from "./steps.ts";

/** A plan and what its builders said, by name of the part. */
interface Done {
  readonly plan: BuildPlan;
  readonly reports: ReadonlyMap<string, EngineReport>;
}

/** mmtrt.json of the engine directory: what it was made of, by whom, and what its engines are bound to. */
export function manifestOf(done: Done): EngineManifest {
  const { plan } = done;
  return {
    kind: "engine",
    format: 1,
    version: plan.version,
    fingerprint: plan.fingerprint,
    backend: plan.backend,
    target: targetOf(done),
    model: plan.model,
    parts: plan.engines.map(({ name, onnx, weights, tables, engine, graph }) => ({
      name,
      onnx,
      weights,
      ...(tables && { tables: tables.file }),
      engine,
      fingerprint: fingerprintOf(plan, name),
      onnx_sha256: graph.onnx_sha256,
      built: builtPart(done, name),
    })),
    steps: plan.steps.map(({ id, fingerprint }) => ({ id, fingerprint })),
    options: plan.options,
  };
}

/** What the engines are bound to: their library, and the GPUs that all of them have kernels for. */
function targetOf({ plan, reports }: Done): EngineTarget | null {
  const [first, ...others] = [...reports.values()];
  if (first === undefined) return null;
  const common = others.reduce((sms, report) => sms.filter(sm => report.sms.includes(sm)), first.sms);
  const own = plan.backend === "tensorrt" ? (plan.builder?.gpus ?? []).slice(0, 1) : [];
  const called = plan.engines.flatMap(({ request }) => (request?.plugins ?? []).map(({ file }) => file));
  // Of a library that cannot be read TensorRT, which loads it, has told already.
  const used = plan.libraries.filter(({ file }) => called.includes(resolve(file)));
  return {
    tensorrt: first.version ?? "unknown",
    sm: common.length > 0 ? common : own,
    plugin_abi: used.find(({ abi }) => abi !== null)?.abi ?? null,
    ...(used.length > 0 && { plugin_libraries: used.map(({ file, sha256 }) => ({ file, sha256 })) }),
  };
}

/** The engines of this build; none for ONNX Runtime. */
export function builtOf(done: Done): readonly (BuiltEngine & { readonly name: string })[] {
  return done.plan.engines.flatMap(({ name }) => {
    const built = builtPart(done, name);
    return built === null ? [] : [{ name, ...built }];
  });
}

/** Bytes of host memory that a part's builder was planned with. */
export function predictedHost({ build_memory: { builders } }: BuildPlan, name: string): number | undefined {
  return builders.find(builder => builder.name === name)?.host;
}

function builtPart({ plan, reports }: Done, name: string): BuiltEngine | null {
  const report = reports.get(name);
  if (report === undefined) return null;
  const predicted = predictedHost(plan, name);
  return {
    bytes: report.bytes,
    builder: report.builder,
    tensorrt: report.version ?? null,
    sm: report.sms,
    seconds: report.seconds,
    io_from: report.io?.from ?? null,
    layers: report.layers ?? null,
    engine_layers: report.engineLayers ?? null,
    memory_bytes: report.memoryBytes ?? null,
    peak_host_mib: report.peakHostMiB ?? null,
    predicted_host_mib: predicted === undefined ? null : Math.round(predicted / 1024 ** 2),
    log: logOf({ name }),
  };
}

/** Of the last step that makes a part. */
function fingerprintOf(plan: BuildPlan, name: string): string {
  const own = plan.steps.filter(step => step.kind !== "files" && step.id.endsWith(` ${name}`));
  return own.at(-1)?.fingerprint ?? "";
}
