import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import type { Place } from "./place.ts";

const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  "onnxruntime-genai": ["onnxruntime-genai", "onnxruntime", "torch", "transformers"],
  "optimum-onnx": ["optimum-onnx", "transformers"],
  "TensorRT-Edge-LLM": ["tensorrt-edgellm"],
};

/** What each peer's environment has installed, and the ONNX Runtime that mmtrt runs on. */
export function versionsOf({ python }: Place): Record<string, string> {
  const found: Record<string, string> = { "onnxruntime-node": ownRuntime() };
  for (const [peer, names] of Object.entries(PACKAGES)) {
    const script = `import importlib.metadata as m, json; print(json.dumps({n: m.version(n) for n in ${JSON.stringify(names)}}))`;
    try {
      const versions = JSON.parse(execFileSync(python(peer), ["-c", script], { encoding: "utf8" })) as object;
      for (const [name, version] of Object.entries(versions))
        found[`${peer === name ? "" : `${peer}: `}${name}`] = version;
    } catch {
      found[peer] = "absent";
    }
  }
  return found;
}

function ownRuntime(): string {
  const file = new URL("../../node_modules/onnxruntime-node/package.json", import.meta.url);
  return (JSON.parse(readFileSync(file, "utf8")) as { readonly version: string }).version;
}
