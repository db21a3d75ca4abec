import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The command line as it is installed; needs `npm run build`. */
export const BIN = fileURLToPath(new URL("../../bin/mmtrt.js", import.meta.url));

/** Where a subject finds its files and the peers. */
export interface Place {
  /** Models and engines, made where they are missing and kept. */
  readonly dir: string;
  /** The Python of a peer's virtual environment. */
  python(peer: string): string;
  readonly runs: number;
  /** What counts: the wall clock, or time of the processor where the machine has other work. */
  readonly by: "seconds" | "cpu";
  /** Of each library. */
  readonly threads: number;
  /** Whether a case is asked for by a part of its name, with _ for spaces. */
  wants(name: string): boolean;
}

export const DEFAULT_THREADS = 2;

interface Asked extends Pick<Place, "runs" | "threads" | "by"> {
  readonly only: string | undefined;
}

const ENVIRONMENTS: Readonly<Record<string, string>> = {
  "onnxruntime-genai": "genai",
  "optimum-onnx": "optimum",
  "torch.onnx dynamo": "genai",
  "TensorRT-Edge-LLM": "edgellm",
  "safetensors + torch": "genai",
  transformers: "genai",
};

/** `peers` holds one virtual environment for each, as bench/README.md makes them. */
export function placeOf(dir: string, peers: string, { runs, threads, by, only }: Asked): Place {
  return {
    dir,
    runs,
    threads,
    by,
    wants: name => only === undefined || name.replaceAll(" ", "_").includes(only),
    python(peer) {
      const environment = ENVIRONMENTS[peer];
      if (environment === undefined) throw new Error(`no virtual environment is known for ${peer}`);
      return join(peers, environment, "bin", "python");
    },
  };
}
