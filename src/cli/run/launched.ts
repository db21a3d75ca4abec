import { availableParallelism, cpus } from "node:os";
import { fail } from "../../diagnostics/index.ts";
import { type EngineDir, openEngine } from "../../formats/engine-dir.ts";
import { environment, launchedAs, type ProcessPlace } from "../../options/env.ts";
import type { OtherEncoder } from "../../runtime/visual/encode.ts";
import { dismiss, otherEncoder, serveImages } from "../../runtime/visual/processes.ts";
import { gather, join, type Launch } from "../../toolchain/launch/meet.ts";
import { meetingPlace } from "../../toolchain/launch/place.ts";
import type { RunContext } from "./request.ts";

/** What a process that a launcher has started is there for. */
export type Part =
  | { readonly does: "all" | "nothing" }
  | { readonly does: "requests" | "images"; readonly place: ProcessPlace; readonly engine: EngineDir };

/**
 * What this process does. Under mpirun or srun there is one process for each rank. ONNX Runtime runs all ranks of the
 * language model in the first, and the others encode their share of the images; without images, or where the native
 * runner does the work (`alone`), they have nothing to do.
 * @throws MmtrtError RUN040 when there are not as many processes as ranks; RUN041 when they are on several machines.
 */
export async function partOf(dir: string, alone: boolean): Promise<Part> {
  const place = launchedAs(environment());
  if (place === undefined) return { does: "all" };
  const engine = await openEngine(dir);
  const isFirst = place.rank === 0;
  const fits = place.size === engine.llmParts.length;
  if (isFirst && !fits) wrongWorld(place, dir, engine.llmParts.length);
  // Processes share tiles out, which patches of a picture are not.
  const packs = engine.manifest.model.visual_tokens?.kind === "patches";
  const shares = fits && !alone && !packs && engine.visualPart !== undefined && process.platform !== "win32";
  if (isFirst && shares && place.isSpread) severalMachines(place);
  if (!shares || place.isSpread) return { does: isFirst ? "all" : "nothing" };
  return { does: isFirst ? "requests" : "images", place, engine };
}

/** Encodes images for the first process until it has no more. Errors: RUN041, RUN042, RUN043. */
export async function runImages(part: Part, context: RunContext): Promise<void> {
  if (part.does !== "images") return;
  const { visualPart, visual } = part.engine;
  if (visualPart === undefined || visual === undefined) return;
  const peer = await join(launchOf(part, context.signal));
  const end = (): void => peer.end();
  context.signal.addEventListener("abort", end, { once: true });
  try {
    const threads = context.options.threads || shareOfCores(part.place.size);
    await serveImages(peer, visualPart.onnx, visual, { threads, oneOfMany: true });
  } finally {
    context.signal.removeEventListener("abort", end);
  }
}

/** Runs `work` with the launcher's other processes, which end when it has. Errors: RUN041. */
export async function withOthers<T>(
  part: Part,
  signal: AbortSignal,
  work: (others: readonly OtherEncoder[]) => Promise<T>,
): Promise<T> {
  if (part.does !== "requests" || part.engine.visual === undefined) return work([]);
  const { visual } = part.engine;
  const peers = await gather(launchOf(part, signal));
  try {
    return await work(peers.map(peer => otherEncoder(peer, visual)));
  } finally {
    await dismiss(peers);
  }
}

function launchOf({ place, engine }: Extract<Part, { place: ProcessPlace }>, signal: AbortSignal): Launch {
  // Launchers that name no job start the processes themselves.
  const meeting = meetingPlace(place.job ?? `parent ${process.ppid}`);
  return {
    rank: place.rank,
    size: place.size,
    place: meeting,
    engine: engine.visualPart?.onnx_sha256 ?? "",
    signal,
  };
}

/** A launcher that binds its processes has shared out the cores; without, each takes an even share. */
function shareOfCores(processes: number): number {
  return Math.max(1, Math.min(availableParallelism(), Math.floor(cpus().length / processes)));
}

function wrongWorld({ size, from }: ProcessPlace, dir: string, ranks: number): never {
  return fail({
    code: "RUN040",
    what: `${size} processes were launched and ${dir} has ${ranks} rank${ranks === 1 ? "" : "s"}`,
    at: `${from} (environment)`,
    why: "a launcher starts one process for each rank; with another number the ranks would wait for one another for ever",
    fix: ranks === 1 ? "run it without mpirun or srun" : `mpirun -n ${ranks} mmtrt run …, or without mpirun`,
  });
}

function severalMachines({ from }: ProcessPlace): never {
  return fail({
    code: "RUN041",
    what: "the launcher has put the processes on several machines",
    at: `${from} (environment)`,
    why: "they share the images of a request over a socket of one machine",
    fix: "start all on one machine, or mmtrt run without the launcher",
  });
}
