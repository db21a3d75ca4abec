import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Figure, round, shown } from "../support/figures.ts";
import type { Place } from "../support/place.ts";

const ROOT = join(import.meta.dirname, "../..");

interface Locked {
  readonly packages: Readonly<Record<string, { readonly dev?: boolean; readonly optional?: boolean }>>;
}

/** Megabytes on disk: mmtrt's own files and what it depends on, beside each peer's virtual environment. */
export async function install({ python }: Place): Promise<readonly Figure[]> {
  const packed = execFileSync("npm", ["pack", "--dry-run", "--ignore-scripts", "--json"], {
    encoding: "utf8",
    cwd: ROOT,
  });
  const [own] = JSON.parse(packed) as readonly [{ readonly unpackedSize: number; readonly size: number }];
  const { packages } = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8")) as Locked;
  const needed = Object.entries(packages).filter(([path, { dev }]) => path !== "" && dev !== true);
  const always = needed.filter(([, { optional }]) => optional !== true).length;
  const runtime = megabytes(
    ["onnxruntime-node", "onnxruntime-common", "sharp", "@img"].map(name => join(ROOT, "node_modules", name)),
  );
  const peers = ["onnxruntime-genai", "optimum-onnx", "TensorRT-Edge-LLM"];
  const environments = peers.map(peer => [peer, megabytes([dirname(dirname(python(peer)))])] as const);
  const ownSize = own.unpackedSize / 1e6;
  return [
    shown({
      case: "installed",
      unit: "MB",
      runs: 1,
      values: { mmtrt: round(ownSize + runtime), ...Object.fromEntries(environments) },
      note: `of it mmtrt ${round(ownSize)} (wanted: < 12; packed ${round(own.size / 1e6)}), ONNX Runtime and sharp ${runtime}; 2 dependencies, ${always} packages with theirs`,
    }),
  ];
}

function megabytes(paths: readonly string[]): number {
  const text = execFileSync("du", ["-scm", ...paths], { encoding: "utf8" });
  return Number(/^(\d+)\s+total$/m.exec(text)?.[1]);
}
