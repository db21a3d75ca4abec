import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ROOT } from "../../support/sources.ts";

interface Packed {
  readonly size: number;
  readonly files: readonly { readonly path: string; readonly size: number }[];
}

/** What npm would publish, as the tree is now; `prepare` is left out, or it would build under the feet of other tests. */
const [packed] = JSON.parse(
  execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts", "--silent"], { cwd: ROOT, encoding: "utf8" }),
) as [Packed];
const paths = packed.files.map(({ path }) => path);
const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));

describe("the package that npm publishes", () => {
  it("is below 6 MB", () => {
    expect(packed.size).toBeLessThan(6 * 1024 * 1024);
  });

  it("holds the program, what it reads, what it copies out, and the demo's model", () => {
    const tops = new Set(paths.map(path => (path.includes("/") ? `${path.split("/")[0]}/` : path)));
    tops.delete("dist/");
    expect([...tops].sort()).toEqual(
      [
        ...["CHANGELOG.md", "LICENSE", "README.md", "package.json"],
        ...["bin/", "configs/", "docs/", "native-plugins/", "templates/", "test/"],
      ].sort(),
    );
    const inside = (folder: string): readonly string[] => paths.filter(path => path.startsWith(folder));
    expect(inside("test/")).toEqual(inside("test/fixtures/models/llava-shapes/"));
    expect(inside("docs/")).toEqual(inside("docs/errors/"));
    for (const path of ["configs/calibration/prose.txt", "configs/models/llava-1.5-7b-hf.yaml"])
      expect(paths).toContain(path);
    for (const name of ["mmtrt.yaml", "matrix.yaml", "github.yml", "gitlab-ci.yml", "gitignore"])
      expect(paths).toContain(`templates/project/${name}`);
  });

  it("holds nothing that is made while working, and no sources of tests", () => {
    const left = /(?:^|\/)(?:__pycache__|node_modules|\.mmtrt|\.venv)\/|\.(?:partial|pyc|map|log|tgz|engine|so|o)$/;
    expect(paths.filter(path => left.test(path) || /\.test\.ts$|\.ts$/.test(path))).toEqual([]);
  });

  it("has a program and needs no more at run time than two packages with native code", () => {
    for (const file of Object.values(manifest.bin as Record<string, string>)) expect(paths).toContain(file);
    expect(Object.keys(manifest.dependencies)).toEqual(["onnxruntime-node", "sharp"]);
    expect(manifest.engines.node).toMatch(/^\^20\./);
  });

  it("is locked without the name of any registry", () => {
    const lock = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8"));
    const resolved = Object.values(lock.packages as Record<string, { resolved?: string }>).map(entry => entry.resolved);
    expect(resolved.filter(url => url !== undefined)).toEqual([]);
  });
});
