/** One line of a builder's account, in bytes of host memory. */
export interface BuilderItem {
  readonly what: "library" | "graph" | "weights_file" | "weights_held" | "engine" | "second_layout";
  readonly bytes: number;
  readonly formula: string;
}

/** What the process that builds one engine takes at its peak. */
export interface BuilderMemory {
  /** The part's. */
  readonly name: string;
  readonly rank: number;
  readonly items: readonly BuilderItem[];
  /** Host memory in bytes: the sum of the items. */
  readonly host: number;
  /** Bytes of the GPU that kernels are timed on; null where none are timed. */
  readonly gpu: { readonly bytes: number; readonly formula: string } | null;
}

/** All engines of a plan; empty where none are built. */
export interface BuildMemory {
  readonly builders: readonly BuilderMemory[];
  /** Of the largest one. */
  readonly peak: number;
  /** Engines that are built at the same time, and the bytes that they may take together. */
  readonly workers: number;
  readonly limit: number | null;
}

const MIB = 1024 ** 2;
// Fitted to VmHWM of TensorRT-RTX 1.7.1 on graphs of 119 to 1122 nodes and 1 to 2098 MiB of weights
// (docs/internals/memory.md has the table); the other terms follow from what holds the weights.
const LIBRARY = 120 * MIB;
const BUILDER = 80 * MIB;
const NODE = 336 * 1024;
/** The other layout is held and written like the first, and for a time once more in part. */
const SECOND_LAYOUT = 2.5;

/** What a builder's account is made from: a part of a plan. */
export interface BuiltPart {
  readonly name: string;
  readonly rank: number;
  readonly graph: { readonly nodes: number; readonly used_bytes: number; readonly computed_bytes: number };
}

/**
 * The peak comes when the engine is put together: the file's pages of weights that were read, the builder's own copy, and
 * the serialized engine that they are copied into. `repacked`: bytes of weights whose products have kernels of their own
 * for a single row, where the engine has a profile of one.
 */
export function builderMemory(part: BuiltPart, repacked: number, timing: TimingInput | null): BuilderMemory {
  const { nodes, used_bytes: file, computed_bytes: held } = part.graph;
  const items: BuilderItem[] = [
    { what: "library", bytes: LIBRARY, formula: "Python and TensorRT's library, loaded" },
    { what: "graph", bytes: BUILDER + nodes * NODE, formula: `builder ${BUILDER} B + nodes ${nodes} × ${NODE} B` },
    { what: "weights_file", bytes: file, formula: "pages of the weights file, mapped" },
    { what: "weights_held", bytes: held, formula: "the builder's copy in the dtype of its kernels" },
    { what: "engine", bytes: held, formula: "the serialized engine, before it is written" },
  ];
  if (repacked > 0)
    items.push({
      what: "second_layout",
      bytes: SECOND_LAYOUT * repacked,
      formula: `kernels for a single row want qkv, gate and up, ${repacked} B, in another layout too × ${SECOND_LAYOUT}`,
    });
  const host = items.reduce((sum, { bytes }) => sum + bytes, 0);
  return { name: part.name, rank: part.rank, items, host, gpu: timing === null ? null : timedOn(part, timing) };
}

/** What TensorRT's timing of kernels needs besides weights. */
export interface TimingInput {
  /** Bytes of the part's activations at its largest profile. */
  readonly activations: number;
  /** Bytes of --workspace; undefined: TensorRT may take all that the GPU has. */
  readonly workspace: number | undefined;
}

/** An estimate from what must be there at once; no GPU was at hand to measure one. */
function timedOn(part: BuiltPart, { activations, workspace }: TimingInput): NonNullable<BuilderMemory["gpu"]> {
  const { computed_bytes: weights } = part.graph;
  return {
    bytes: weights + activations + (workspace ?? 0),
    formula:
      `weights ${weights} B + activations ${activations} B` +
      (workspace === undefined ? "; scratch as much as the GPU has free" : ` + workspace ${workspace} B`),
  };
}
