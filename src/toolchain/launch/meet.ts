import { createServer, type Socket } from "node:net";
import { fail, MmtrtError, type Problem } from "../../diagnostics/index.ts";
import { type Peer, peerOver } from "./peer.ts";
import { connected, isThere, type MeetingPlace, makePlace, removePlace } from "./place.ts";

/** Starting Node and reading the options takes a second or two; a loaded machine or a slow disk may take much longer. */
const JOIN_SECONDS = 60;
/** How often a process looks whether the first is there. */
const LOOK_MS = 50;
const PROTOCOL = 1;

/** What the processes of a launch must agree on. */
export interface Launch {
  readonly rank: number;
  readonly size: number;
  readonly place: MeetingPlace;
  /** Which engine is run. */
  readonly engine: string;
  readonly signal: AbortSignal;
  /** Seconds that are waited for the others. */
  readonly seconds?: number;
}

/**
 * The first process's side: the others in order of their ranks. When they have come, the socket and its directory are
 * removed, so that nothing is left behind however the processes end.
 * Errors: RUN041 when one does not come, or runs another engine.
 */
export async function gather(launch: Launch): Promise<readonly Peer[]> {
  const { size, place, signal, seconds = JOIN_SECONDS } = launch;
  await makePlace(place);
  const limit = AbortSignal.any([signal, AbortSignal.timeout(seconds * 1000)]);
  const [peers, sockets] = [new Map<number, Peer>(), new Set<Socket>()];
  const server = createServer();
  server.maxConnections = 4 * size;
  try {
    await new Promise<void>((resolve, reject) => {
      const greet = async (socket: Socket): Promise<void> => {
        sockets.add(socket);
        const peer = peerOver(socket);
        const joined = await greeted(peer, launch).catch(() => undefined);
        if (joined === undefined || peers.has(joined.rank)) {
          socket.destroy();
          return;
        }
        if (joined.engine !== launch.engine) otherEngine(joined.rank);
        peer.calledAs(`process ${joined.rank} of ${size}`);
        peers.set(joined.rank, peer);
        sockets.delete(socket);
        if (peers.size === size - 1) resolve();
      };
      server.on("connection", socket => void greet(socket).catch(reject));
      server.once("error", reject);
      limit.addEventListener("abort", () => reject(signal.aborted ? signal.reason : absent(launch, peers)));
      server.listen(place.socket);
    });
    return Array.from(peers, ([rank, peer]) => ({ rank, peer }))
      .sort((a, b) => a.rank - b.rank)
      .map(({ peer }) => peer);
  } catch (error) {
    for (const peer of peers.values()) peer.end();
    throw error;
  } finally {
    server.close();
    // Whoever came and is not of this launch.
    for (const socket of sockets) socket.destroy();
    await removePlace(place);
  }
}

/** Another process's side: the first one, as soon as it is there. Errors: RUN041. */
export async function join(launch: Launch): Promise<Peer> {
  const { rank, size, place, engine, signal, seconds = JOIN_SECONDS } = launch;
  const deadline = performance.now() + seconds * 1000;
  for (;;) {
    signal.throwIfAborted();
    const socket = (await isThere(place)) ? await connected(place) : undefined;
    if (socket !== undefined) {
      const peer = peerOver(socket);
      peer.calledAs(`process 0 of ${size}`);
      await peer.send({ kind: "hello", protocol: PROTOCOL, rank, size, engine });
      return peer;
    }
    if (performance.now() > deadline) throw new MmtrtError([missing(launch, [0])]);
    await new Promise(resolve => setTimeout(resolve, LOOK_MS));
  }
}

interface Hello {
  readonly rank: number;
  readonly engine: unknown;
}

/** What a process says first; undefined for one that is not of this launch. */
async function greeted(peer: Peer, { size }: Launch): Promise<Hello | undefined> {
  const { kind, protocol, rank, size: theirs, engine } = (await peer.receive()).header;
  const fits = kind === "hello" && protocol === PROTOCOL && theirs === size;
  return fits && Number.isInteger(rank) && Number(rank) > 0 && Number(rank) < size
    ? { rank: Number(rank), engine }
    : undefined;
}

function absent(launch: Launch, peers: ReadonlyMap<number, Peer>): MmtrtError {
  const others = Array.from({ length: launch.size - 1 }, (_, i) => i + 1);
  return new MmtrtError([
    missing(
      launch,
      others.filter(rank => !peers.has(rank)),
    ),
  ]);
}

function missing({ size, place, seconds = JOIN_SECONDS }: Launch, ranks: readonly number[]): Problem {
  return {
    code: "RUN041",
    what: `process ${ranks.join(", ")} of ${size} has not come within ${seconds} s`,
    at: place.dir,
    why: "it has ended, runs on another machine or another engine directory, or has another TMPDIR",
    fix: "start all on one machine, with the same flags; or mmtrt run without the launcher",
  };
}

function otherEngine(rank: number): never {
  return fail({
    code: "RUN041",
    what: `process ${rank} of the launcher runs another engine than process 0`,
    at: "--engine_dir",
    why: "features of another image encoder would be taken for this one's",
    fix: "give all processes the same --engine_dir",
  });
}
