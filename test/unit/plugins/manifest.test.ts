import { cpSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parseRequirement, parseSize } from "../../../src/cli/plugins/expression.ts";
import { generateSources } from "../../../src/cli/plugins/generate.ts";
import { abiHash, pluginSources, readManifests } from "../../../src/cli/plugins/manifest.ts";
import { newPlugin } from "../../../src/cli/plugins/scaffold.ts";
import { MmtrtError } from "../../../src/diagnostics/index.ts";
import { ABI_MARK } from "../../../src/formats/plugin-library.ts";

/** A sources folder with one plugin: the scaffold's, changed by `edit`. */
async function sourcesWith(edit: (yaml: string) => string = yaml => yaml): Promise<string> {
  const sources = realpathSync(mkdtempSync(join(tmpdir(), "mmtrt-plugins-")));
  mkdirSync(join(sources, "plugins"));
  const folder = await newPlugin("RotaryEmbedding", sources, "name");
  const file = join(folder, "plugin.yaml");
  writeFileSync(file, edit(readFileSync(file, "utf8")));
  return sources;
}

async function problemsOf(edit: (yaml: string) => string): Promise<readonly string[]> {
  const sources = await sourcesWith(edit);
  return readManifests(sources).then(
    () => [],
    (error: unknown) => {
      if (!(error instanceof MmtrtError)) throw error;
      return error.problems.map(({ code, at, what }) => `${code} ${at.slice(at.indexOf("plugin.yaml"))} ${what}`);
    },
  );
}

describe("plugin.yaml", () => {
  it("of every plugin of the package is as its schema says, and a size is named once", async () => {
    const manifests = await readManifests(pluginSources());
    expect(manifests.map(({ name }) => name)).toContain("WeightOnlyMatmul");
    for (const { inputs, sizes } of manifests) {
      expect(new Set(sizes).size).toBe(sizes.length);
      expect(inputs.length).toBeGreaterThan(0);
    }
  });

  it("tells every mistake at once, each at its line", async () => {
    const problems = await problemsOf(yaml =>
      yaml
        .replace('y: { shape: ["...", H], type: T }', 'y: { shape: ["...", W], type: U }')
        .replace("default: 1,", "")
        .replace("H % 2 == 0", "H divides 2"),
    );
    expect(problems).toEqual([
      expect.stringMatching(/^PLG002 plugin\.yaml:\d+:\d+ the type U is neither/),
      expect.stringMatching(/^PLG002 plugin\.yaml:\d+:\d+ factor has no default and is not required/),
      expect.stringMatching(/^PLG002 plugin\.yaml:\d+:\d+ the size W is of no input/),
      expect.stringMatching(/^PLG002 plugin\.yaml:\d+:\d+ H divides 2 is no comparison/),
    ]);
  });

  it("with a key that the schema does not have is refused by that name", async () => {
    expect(await problemsOf(yaml => `${yaml}speed: 1\n`)).toEqual([expect.stringMatching(/^PLG001 .*: speed$/)]);
  });

  it("lies in the folder of its name", async () => {
    const problems = await problemsOf(yaml => yaml.replace("name: RotaryEmbedding", "name: Rotary"));
    expect(problems).toEqual([expect.stringContaining("Rotary lies in the folder rotaryEmbedding")]);
  });
});

describe("the ABI hash", () => {
  it("changes with an interface and with the layout of the C structs, and not with words or kernels", async () => {
    const hash = async (edit?: (yaml: string) => string): Promise<string> =>
      abiHash(await readManifests(await sourcesWith(edit)), 1);
    const same = await hash();
    expect(await hash(yaml => yaml.replace("two elements are read at once", "other words here"))).toBe(same);
    expect(await hash(yaml => yaml.replace("default: 1,", "default: 2,"))).not.toBe(same);
    expect(await hash(yaml => yaml.replace("[float16, bfloat16]", "[bfloat16]"))).not.toBe(same);
    expect(abiHash(await readManifests(await sourcesWith()), 2)).not.toBe(same);
  });
});

describe("an output in an input's memory", () => {
  const aliased = (more: string) => (yaml: string) =>
    yaml.replace('y: { shape: ["...", H], type: T }', `y: { shape: ["...", H], type: T, alias: ${more} }`);

  it("names a required input of its own type, and an integer attribute that decides", async () => {
    expect(await problemsOf(aliased("x"))).toEqual([]);
    expect(await problemsOf(aliased("z, alias_when: factor"))).toEqual([
      expect.stringMatching(/^PLG002 plugin\.yaml:\d+:\d+ z is no input/),
      expect.stringMatching(/^PLG002 plugin\.yaml:\d+:\d+ factor is no integer attribute/),
    ]);
  });

  it("is in the tables by index, and part of the ABI", async () => {
    const [manifests, plain] = await Promise.all([
      readManifests(await sourcesWith(aliased("x"))),
      readManifests(await sourcesWith()),
    ]);
    expect(generateSources(manifests, "").get("plugins.gen.cpp")).toMatch(/\{"y", .*, 0, -1\},/);
    expect(generateSources(plain, "").get("plugins.gen.cpp")).toMatch(/\{"y", .*, -1, -1\},/);
    expect(abiHash(manifests, 2)).not.toBe(abiHash(plain, 2));
    const attention = generateSources(await readManifests(pluginSources()), "").get("plugins.gen.cpp") ?? "";
    // present_key: past_key is input 2, `cache` attribute 4; y is as wide as attribute 0 times a size says.
    expect(attention).toMatch(/\{"present_key", .*, 2, 4\},/);
    expect(attention).toMatch(/\{"y", .*\{'\*', \{MMTRT_ATTRIBUTE, 0\}, \{2, 3\}\}/);
  });
});

describe("generated sources", () => {
  it("bind every size from the first input that has it and check the rest", async () => {
    const manifests = await readManifests(pluginSources());
    const files = generateSources(manifests, "0".repeat(64));
    expect([...files.keys()]).toEqual([...manifests.map(({ id }) => `${id}.gen.h`), "plugins.gen.cpp"]);
    const tables = files.get("plugins.gen.cpp") ?? "";
    expect(tables).toContain(`${ABI_MARK}${"0".repeat(64)}`);
    expect(tables).toContain('binder.size(0, -1, sizes.K, "K");');
    expect(tables).toContain('binder.size(1, 0, sizes.K, "K");');
    expect(tables).toContain("if (!(K == G * group_size))");
    expect(files.get("weightOnlyMatmul.gen.h")).toContain("enum Input : int32_t { kX, kWEIGHT, kSCALE, kBIAS,");
  });
});

describe("requirements", () => {
  it.each([
    ["K == G * group_size", "K == G * group_size", ["K", "G", "group_size"]],
    ["N % 32 == 0", "remainder(N, INT64_C(32)) == INT64_C(0)", ["N"]],
    ["A + B / 2 <= C - 1", "A + quotient(B, INT64_C(2)) <= C - INT64_C(1)", ["A", "B", "C"]],
  ])("%s becomes C++ that cannot divide by zero", (text, cpp, names) => {
    expect(parseRequirement(text)).toEqual({ cpp, names });
  });

  it.each(["K", "K = 1", "K ==", "== 1", "K == system(1)", "K == 1; x", "K == 1 == 1", "K == -1", "1 2 == 3"])(
    "%s is none",
    text => {
      expect(parseRequirement(text)).toBeUndefined();
    },
  );

  it("sizes are a name, a number, or two of them", () => {
    expect(parseSize("num_heads * D")).toEqual({ op: "*", terms: ["num_heads", "D"] });
    expect(parseSize("P++")).toBeUndefined();
    expect(parseSize("P + S")).toEqual({ op: "+", terms: ["P", "S"] });
    expect(parseSize(1)).toEqual({ op: "", terms: [1] });
    expect(parseSize("A + B + C")).toBeUndefined();
  });
});

describe("mmtrt plugins new", () => {
  it("never writes over a plugin, and takes no name that C++ would not", async () => {
    const sources = await sourcesWith();
    await expect(newPlugin("RotaryEmbedding", sources, "name")).rejects.toThrow(/PLG009/);
    await expect(newPlugin("rotary-embedding", sources, "name")).rejects.toThrow(/PLG008/);
    await expect(newPlugin(undefined, sources, "name")).rejects.toThrow(/PLG008/);
    const [manifest] = await readManifests(sources);
    expect(manifest).toMatchObject({ name: "RotaryEmbedding", id: "rotaryEmbedding", sizes: ["H"] });
    cpSync(join(sources, "plugins", "rotaryEmbedding", "kernel.cu"), join(sources, "kernel.cu"));
    expect(readFileSync(join(sources, "kernel.cu"), "utf8")).not.toMatch(/myPlugin/i);
  });
});
