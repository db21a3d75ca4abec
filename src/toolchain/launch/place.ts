import { createHash } from "node:crypto";
import { lstat, mkdir, rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fail } from "../../diagnostics/index.ts";

/** Bytes of a socket's path: 104 on macOS, 108 on Linux, with the zero at the end. */
const MAX_PATH = 103;

/** Where the processes of a launch meet: a directory that only this user may open, and the socket in it. */
export interface MeetingPlace {
  readonly dir: string;
  readonly socket: string;
}

/** The same for all processes of `job`, by this user, on this machine. */
export function meetingPlace(job: string): MeetingPlace {
  const name = `mmtrt-${process.getuid?.() ?? 0}-${createHash("sha256").update(job).digest("hex").slice(0, 16)}`;
  const place = (base: string): MeetingPlace => ({ dir: join(base, name), socket: join(base, name, "images") });
  const usual = place(tmpdir());
  return Buffer.byteLength(usual.socket) <= MAX_PATH ? usual : place("/tmp");
}

/** Makes the directory anew; what a run that was killed left there goes first. Errors: RUN041. */
export async function makePlace(place: MeetingPlace): Promise<void> {
  if (await isThere(place)) {
    const other = await connected(place);
    other?.destroy();
    if (other !== undefined) taken(place);
    await removePlace(place);
  }
  await mkdir(place.dir, { mode: 0o700 });
}

export async function removePlace({ dir }: MeetingPlace): Promise<void> {
  await rm(dir, { recursive: true, force: true });
}

/** Whether the directory is there. Errors: RUN041 when it is not this user's alone. */
export async function isThere({ dir }: MeetingPlace): Promise<boolean> {
  const found = await lstat(dir).catch(() => undefined);
  if (found === undefined) return false;
  if (!found.isDirectory() || found.uid !== process.getuid?.() || (found.mode & 0o077) !== 0) notPrivate(dir);
  return true;
}

/** A socket to whoever listens there; undefined when nobody does. */
export function connected({ socket: path }: MeetingPlace): Promise<Socket | undefined> {
  return new Promise(resolve => {
    const socket = connect(path);
    socket.once("connect", () => resolve(socket));
    socket.once("error", () => resolve(undefined));
  });
}

function notPrivate(dir: string): never {
  return fail({
    code: "RUN041",
    what: `${dir} is there and is not a directory of this user alone`,
    at: dir,
    why: "whoever can open it could give the processes other images, or features that are none",
    fix: "remove it, or set TMPDIR to a directory of your own",
  });
}

function taken({ dir }: MeetingPlace): never {
  return fail({
    code: "RUN041",
    what: `another mmtrt run of the same launch is going in ${dir}`,
    at: dir,
    why: "its processes and this run's could not be told apart",
    fix: "start the runs one after the other, or each with a launcher of its own",
  });
}
