import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { fileAtRevision } from "../../../src/toolchain/git.ts";
import { tempFolder } from "../../support/temp-folder.ts";

const { signal } = new AbortController();

it("a file is given as it was at a revision, and otherwise why it is not", async () => {
  const dir = tempFolder("git");
  const git = (...args: readonly string[]): void => void execFileSync("git", ["-C", dir, ...args], { stdio: "ignore" });
  git("init");
  writeFileSync(join(dir, "matrix.yaml"), "first");
  git("add", "matrix.yaml");
  git("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false", "commit", "-m", "first");
  writeFileSync(join(dir, "matrix.yaml"), "second");
  expect(await fileAtRevision(dir, "HEAD", "matrix.yaml", signal)).toEqual({ text: "first" });
  expect(await fileAtRevision(dir, "HEAD", "other.yaml", signal)).toMatch(/^fatal: .*other\.yaml/);
  expect(await fileAtRevision(dir, "HEAD~19", "matrix.yaml", signal)).toMatch(/^fatal: .*HEAD~19/);
  expect(await fileAtRevision(dir, "--output=/x", "matrix.yaml", signal)).toBe("a revision does not begin with a dash");
});

it("a machine without git says so", async () => {
  const path = process.env.PATH;
  process.env.PATH = tempFolder("path");
  try {
    expect(await fileAtRevision(".", "HEAD", "matrix.yaml", signal)).toBe("git is not installed");
  } finally {
    process.env.PATH = path;
  }
});
