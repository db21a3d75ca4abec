import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, it, vi } from "vitest";
import { thisOwner } from "../../../../src/build/cache/host.ts";
import { Locks } from "../../../../src/build/cache/locks.ts";
import { Workspace } from "../../../support/pipeline.ts";

type Files = typeof import("node:fs/promises");

/** What happens instead of a call, or just before it; a file system that nobody else is on has nothing here. */
const instead: { link?: Files["link"]; rename?: Files["rename"]; open?: (file: string) => Promise<void> } = {};
vi.mock("node:fs/promises", async original => {
  const real = await original<Files>();
  return {
    ...real,
    link: (...args: Parameters<Files["link"]>) => (instead.link ?? real.link)(...args),
    rename: (...args: Parameters<Files["rename"]>) => (instead.rename ?? real.rename)(...args),
    open: async (...args: Parameters<Files["open"]>) => {
      await instead.open?.(String(args[0]));
      return real.open(...args);
    },
  };
});
const real = await vi.importActual<Files>("node:fs/promises");

const work = new Workspace();
afterEach(async () => {
  for (const name of ["link", "rename", "open"] as const) delete instead[name];
  await work.clean();
});

const errno = (code: string): Error => Object.assign(new Error(code), { code, errno: -1, syscall: "link" });
const refusing = (code: string) => async (): Promise<void> => Promise.reject(errno(code));
const isHeld = (got: object): boolean => !("release" in got);

/** A lock of a process of this machine that has ended. */
async function abandoned(dir: string): Promise<string> {
  const file = join(dir, "k.lock");
  await writeFile(file, JSON.stringify({ ...(await thisOwner()), pid: 2 ** 22 + 1, token: "old" }));
  return file;
}

it.each(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"])(
  "a file system that answers a link with %s has locks all the same, one holder each",
  async code => {
    instead.link = refusing(code);
    const dir = await work.dir();
    const [first, second] = [await new Locks(dir).tryAcquire("k"), await new Locks(dir).tryAcquire("k")];
    expect([isHeld(first), isHeld(second)]).toEqual([false, true]);
    if ("release" in first) await first.release();
    expect(await readdir(dir)).toEqual([]);
  },
);

it("a directory that cannot be written to is named, and nothing is left beside it", async () => {
  instead.link = refusing("EROFS");
  const dir = await work.dir();
  await expect(new Locks(dir).tryAcquire("k")).rejects.toThrow(/CKP009.*k\.lock/s);
  expect(await readdir(dir)).toEqual([]);
});

it("an abandoned lock that somebody else removes first is taken all the same", async () => {
  const dir = await work.dir();
  const file = await abandoned(dir);
  instead.rename = async (from, to) => {
    delete instead.rename;
    await rm(file);
    await real.rename(from, to);
  };
  expect(isHeld(await new Locks(dir).tryAcquire("k"))).toBe(false);
});

it("an abandoned lock that somebody else takes over first is left to them", async () => {
  const dir = await work.dir();
  const file = await abandoned(dir);
  const theirs = JSON.stringify({ ...(await thisOwner()), token: "new" });
  instead.rename = async (from, to) => {
    await writeFile(file, theirs);
    await real.rename(from, to);
  };
  expect(await new Locks(dir).tryAcquire("k")).toEqual({ heldBy: undefined });
  expect(await readdir(dir)).toEqual(["k.lock"]);
  expect(await readFile(file, "utf8")).toBe(theirs);
});

it("an abandoned lock that may not be moved is an error that names it", async () => {
  const dir = await work.dir();
  await abandoned(dir);
  instead.rename = refusing("EACCES");
  await expect(new Locks(dir).tryAcquire("k")).rejects.toThrow(/CKP009.*k\.lock/s);
});

it("a lock that is released while it is looked at is held by nobody, and asked for again", async () => {
  const dir = await work.dir();
  const file = await abandoned(dir);
  instead.open = async opened => {
    if (opened === file) await rm(file, { force: true });
  };
  expect(await new Locks(dir).tryAcquire("k")).toEqual({ heldBy: undefined });
});
