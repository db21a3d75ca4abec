import { type TensorrtKey, tensorrtOptions } from "../options/tables/build-tensorrt.ts";
import type { Rule } from "./rule.ts";
import { inCheckpoint } from "./rule.ts";

const OLDEST_MAJOR = 10;

export const versionIsARelease: Rule = ({ target: { tensorrtVersion: version }, origin }) => {
  if (version === undefined) return undefined;
  const major = /^(\d{1,3})(\.\d{1,3}){0,3}$/.exec(version)?.[1];
  if (major !== undefined && Number(major) >= OLDEST_MAJOR) return undefined;
  return {
    code: "BLD048",
    what: `tensorrt_version ${version} is not a release of TensorRT from ${OLDEST_MAJOR}.0 on`,
    at: origin("tensorrt_version"),
    why: "it decides which operators the graphs may use, and older parsers lack more than mmtrt spells out",
    fix: "--tensorrt_version 10.13, or leave it out to take the release that builds",
  };
};

export const staticCacheHasOperator: Rule = ({ build, target, origin }) =>
  build.kv_cache_type !== "static" || target.hasTensorScatter
    ? undefined
    : {
        code: "BLD044",
        what: `kv_cache_type static with TensorRT ${target.parserVersion}`,
        at: origin("kv_cache_type"),
        why: "the cache is updated in place by the operator TensorScatter, which TensorRT reads from 10.15 on",
        fix: "--kv_cache_type continuous, or build with TensorRT 10.15 or later",
      };

export const targetsHaveDtype: Rule = context => {
  const { target, origin } = context;
  if (target.smsWithoutDtype.length === 0) return undefined;
  const rest = target.sms.filter(sm => !target.smsWithoutDtype.includes(sm));
  const convert = "convert with --dtype float16";
  return {
    code: "BLD045",
    what: `SM ${target.smsWithoutDtype.join(", ")} does not compute in the model's ${target.computeDtype}`,
    at: target.sms.length > 0 ? origin("compute_capabilities") : inCheckpoint(context, "dtype"),
    why: "the hardware of that generation has no such arithmetic",
    fix: rest.length > 0 ? `--compute_capabilities ${rest.join(" ")}, or ${convert}` : convert,
  };
};

export const refitHasGpu: Rule = ({ target, origin }) => {
  const [option] = target.needsRefit;
  if (option === undefined || target.backend !== "tensorrt_rtx" || target.gpus !== 0) return undefined;
  return {
    code: "BLD046",
    what: `${option} with TensorRT-RTX on a machine without a GPU`,
    at: origin(option),
    why: "kernels that read their weights from outside the engine are compiled for the GPU at hand",
    fix: `leave --${option} out, or build on a machine with a GPU`,
  };
};

export const refitHasOneTarget: Rule = ({ target, origin }) => {
  const [option] = target.needsRefit;
  if (option === undefined || target.backend !== "tensorrt_rtx" || target.sms.length < 2) return undefined;
  return {
    code: "BLD047",
    what: `${option} with ${target.sms.length} compute capabilities: ${target.sms.join(", ")}`,
    at: origin("compute_capabilities"),
    why: "TensorRT-RTX compiles refittable kernels for a single SM",
    fix: `--compute_capabilities ${target.sms[0]}, and one build for each of the others`,
  };
};

export const flagsHaveTaker: Rule = ({ target: { backend, trtexecFlags } }) =>
  backend !== "onnxruntime" || trtexecFlags.length === 0
    ? undefined
    : {
        code: "BLD049",
        what: `-- ${trtexecFlags.join(" ")} with --backend onnxruntime`,
        at: "-- (command line)",
        why: "words after -- go to trtexec, which this backend does not run",
        fix: "leave them out, or --backend tensorrt",
      };

/** Advice. tensorrt_version shapes the graphs of every backend. */
export const optionsHaveTaker: Rule = ({ target: { backend }, given, origin }) => {
  if (backend !== "onnxruntime") return undefined;
  const unused = (Object.keys(tensorrtOptions) as TensorrtKey[]).filter(
    key => key !== "tensorrt_version" && given(key),
  );
  const [first] = unused;
  if (first === undefined) return undefined;
  return {
    code: "BLD051",
    what: `${unused.join(", ")} ${unused.length === 1 ? "has" : "have"} no effect with backend onnxruntime`,
    at: origin(first),
    why: "it writes graphs and builds no engines",
    fix: "--backend tensorrt or tensorrt_rtx, or leave them out",
  };
};
