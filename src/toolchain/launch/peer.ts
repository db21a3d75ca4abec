import type { Socket } from "node:net";
import { fail, MmtrtError, type Problem } from "../../diagnostics/index.ts";
import { Inbox } from "../inbox.ts";
import { encodeFrame, type Frame, FrameReader, type Header, type SentTensor } from "../runner/frames.ts";
import { isProblem, problemOf } from "../self.ts";

/** Names, shapes, and the problems of a process. */
const MAX_HEADER = 1 << 16;

/** Another process of the same launch. */
export interface Peer {
  /** Resolves when the bytes are on their way. Throws RUN042 once the process has ended. */
  send(header: Header, tensors?: readonly SentTensor[]): Promise<void>;
  /** The next message. Throws RUN042, RUN043, and the problems that the process reports. */
  receive(): Promise<Frame>;
  /** What problems call it from now on. */
  calledAs(who: string): void;
  /** Most bytes of tensors that a message may have from now on; none before. */
  takesPayload(bytes: number): void;
  /** Nothing is read any more; what was sent still arrives. */
  end(): void;
}

/** Speaks frames over a socket. */
export function peerOver(socket: Socket): Peer {
  let who = "a process of the launcher";
  const inbox = new Inbox<Frame>();
  const limits = { header: MAX_HEADER, payload: 0 };
  const reader = new FrameReader(limits, what => garbage(who, what));
  socket.on("data", (chunk: Uint8Array) => {
    try {
      for (const frame of reader.push(chunk)) {
        if (frame.header.kind === "problem") inbox.end(new MmtrtError(problemsOf(frame.header, who)));
        else inbox.push(frame);
      }
    } catch (error) {
      inbox.end(error);
      socket.destroy();
    }
  });
  // Why it broke is told by what came before, or by its end.
  socket.on("error", () => undefined);
  const closed = new Promise<void>(resolve => {
    socket.once("close", () => {
      inbox.end(new MmtrtError([endProblem(who)]));
      resolve();
    });
  });
  return {
    async send(header, tensors = []) {
      for (const piece of encodeFrame(header, tensors)) {
        if (socket.destroyed) throw new MmtrtError([endProblem(who)]);
        if (!socket.write(piece)) await Promise.race([drained(socket), closed]);
      }
    },
    receive: () => inbox.next(),
    calledAs(name) {
      who = name;
    },
    takesPayload(bytes) {
      limits.payload = bytes;
    },
    end() {
      socket.removeAllListeners("data");
      socket.resume();
      socket.end(() => socket.destroy());
    },
  };
}

/** How a process reports what another one should end with. */
export function problemMessage(problems: readonly Problem[]): Header {
  const clipped = problems.slice(0, 8).map(({ code, ...texts }) => ({
    code,
    ...Object.fromEntries(Object.entries(texts).map(([key, text]) => [key, text.slice(0, 1000)])),
  }));
  return { kind: "problem", problems: clipped };
}

function problemsOf({ problems }: Header, who: string): readonly Problem[] {
  const list = Array.isArray(problems) ? (problems as readonly (Readonly<Record<string, unknown>> | null)[]) : [];
  const known = list.flatMap(one => (one !== null && isProblem(one) ? [problemOf(one)] : []));
  return known.length > 0 ? known : garbage(who, "it reports a problem without saying which");
}

function drained(socket: Socket): Promise<void> {
  return new Promise(resolve => void socket.once("drain", resolve));
}

function endProblem(who: string): Problem {
  return {
    code: "RUN042",
    what: `${who} has ended before its work was done`,
    at: "processes of the launcher",
    why: "it was ended from outside, by the kernel when memory ran out, or it crashed in a library",
    fix: "look at what the launcher says of it; if memory is short, mmtrt run without the launcher",
  };
}

export function garbage(who: string, what: string): never {
  return fail({
    code: "RUN043",
    what: `what ${who} sent is no message: ${what}`,
    at: "processes of the launcher",
    why: "they share the images of a request in messages whose sizes are bounded by the visual engine's",
    fix: "run the same version of mmtrt in all processes",
  });
}
