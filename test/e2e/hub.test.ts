import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, watch } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HubStandIn, repoOf } from "../support/hub.ts";
import { Rig } from "../support/rig.ts";
import { ROOT } from "../support/sources.ts";

const COMMIT = "19891989198919891989198919891989198919ab";
const LLAVA = join(ROOT, "test/fixtures/models/llava-shapes");

const rig = new Rig();
let hub: HubStandIn;
let env: Record<string, string>;

beforeAll(async () => {
  hub = await HubStandIn.start();
  hub.repos.set("shapes/llava", repoOf(LLAVA, COMMIT));
  env = { HF_ENDPOINT: hub.endpoint, HF_HOME: join(rig.dir, "hf") };
});
afterAll(async () => {
  await hub.close();
  rig.close();
});

const cache = (...names: string[]): string => join(rig.dir, "hf/hub/models--shapes--llava", ...names);

describe("mmtrt convert org/name", () => {
  it("goes on where a killed one was, and writes the same checkpoint as from the directory", async () => {
    const from = Buffer.from(readFileSync(join(LLAVA, "model.safetensors")));
    const sha = "87925114d1c8ef03bd51db4da074783dfa7eb592c873927a050bf21aadae0f1a";
    hub.faults.push({ on: sha, stallAfter: 3_000_000 });
    const running = rig.start(["convert", "shapes/llava", "--output_dir", "killed"], { env });
    const partial = cache("blobs", `${sha}.partial`);
    await grown(partial, 2_000_000);
    running.kill("SIGKILL");
    expect((await running.finished).signal).toBe("SIGKILL");
    const left = statSync(partial).size;
    expect(from.subarray(0, left).equals(readFileSync(partial))).toBe(true);
    hub.takeSeen();

    const again = await rig.run(["convert", "shapes/llava", "--output_dir", "killed", "--json"], { env });
    expect(again.code).toBe(0);
    expect(
      hub
        .takeSeen()
        .filter(({ path }) => path.includes(sha))
        .map(({ range }) => range),
    ).toEqual([`bytes=${left}-`]);
    const local = await rig.run(["convert", LLAVA, "--output_dir", "local"]);
    expect(local.code).toBe(0);
    for (const name of ["rank0.safetensors", "visual/model.safetensors", "tokenizer/tokenizer.json"])
      expect(readFileSync(join(rig.dir, "killed", name)).equals(readFileSync(join(rig.dir, "local", name))), name).toBe(
        true,
      );
    const { source } = JSON.parse(readFileSync(join(rig.dir, "killed/mmtrt.json"), "utf8"));
    expect(source.hub).toEqual([{ option: "model_dir", repo: "shapes/llava", revision: "main", commit: COMMIT }]);
    expect(readdirSync(cache("blobs")).filter(name => /partial|lock/.test(name))).toEqual([]);
  });

  it("offline takes the cache, to the same result", async () => {
    hub.takeSeen();
    const offline = { ...env, HF_HUB_OFFLINE: "1" };
    const { code, stdout } = await rig.run(["convert", "shapes/llava", "--output_dir", "killed"], { env: offline });
    expect([code, stdout]).toEqual([0, expect.stringContaining("already converted: killed")]);
    expect(hub.takeSeen()).toEqual([]);
  });

  it("names the hub's model in mmtrt.yaml, beside which a directory would win", async () => {
    mkdirSync(join(rig.dir, "project"));
    rig.file("project/mmtrt.yaml", "convert:\n  model_dir: shapes/llava\n  revision: main\n  output_dir: out\n");
    const { code, stderr } = await rig.run(["convert", "--config", "project/mmtrt.yaml"], { env });
    expect([code, existsSync(join(rig.dir, "project/out/mmtrt.json"))], stderr).toEqual([0, true]);
    mkdirSync(join(rig.dir, "project/shapes/llava"), { recursive: true });
    const wrong = await rig.run(["convert", "--config", "project/mmtrt.yaml"], { env });
    expect(wrong.stderr).toContain(
      "error[HUB008]: revision main is given with project/shapes/llava, which is not a model of the Hub",
    );
    expect(wrong.code).toBe(2);
  });

  it("says what is wrong with a name, in exit codes too", async () => {
    const missing = await rig.run(["convert", "shapes/lava", "--output_dir", "y"], { env });
    expect([missing.code, missing.stderr]).toEqual([
      1,
      [
        `error[HUB001]: there is no model shapes/lava on ${hub.endpoint}, or it is private`,
        "  at   shapes/lava",
        "  why  shapes/lava is no directory or file here either, so it was looked for on the Hub",
        "  fix  correct the name or the path; for a private model give a token with HF_TOKEN\n",
      ].join("\n"),
    ]);
    const down = await rig.run(["convert", "shapes/lava", "--output_dir", "y"], {
      env: { ...env, HF_ENDPOINT: "http://127.0.0.1:9" },
    });
    expect([down.code, down.stderr]).toEqual([
      3,
      expect.stringMatching(
        /error\[HUB003\]: http:\/\/127\.0\.0\.1:9 cannot be reached: .*\n.*\n {2}why {2}shapes\/lava is no directory or file here, so/,
      ),
    ]);
  });
});

describe("mmtrt matrix", () => {
  it("builds a model of the Hub by its files' hashes, and locks its commit", async () => {
    rig.file("hub/matrix.yaml", "models:\n  llava: shapes/llava\nmatrix:\n  max_batch_size: [1, 3]\n");
    const build = async (): Promise<readonly string[]> => {
      const { code, stdout } = await rig.run(["matrix", "hub/matrix.yaml", "--json"], { env });
      expect(code, stdout).toBe(0);
      const events = stdout
        .trimEnd()
        .split("\n")
        .map(line => JSON.parse(line));
      return events.find(({ event }) => event === "result").steps.map((step: { state: string }) => step.state);
    };
    expect(await build()).toContain("done");
    expect(new Set(await build())).toEqual(new Set(["cached"]));
    const { sources } = JSON.parse(readFileSync(join(rig.dir, "hub/mmtrt.lock"), "utf8"));
    expect(Object.keys(sources)).toEqual([`hf://shapes/llava@${COMMIT}`]);
    expect(Object.keys(sources[`hf://shapes/llava@${COMMIT}`])).toContain("model.safetensors");
  });
});

describe("commands that need no weights", () => {
  it("inspect says which files are needed and which are there", async () => {
    const own = { ...env, HF_HOME: join(rig.dir, "inspect") };
    const { code, stdout } = await rig.run(["inspect", "shapes/llava"], { env: own });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^shapes\/llava: model of the Hugging Face Hub\n/);
    expect(stdout).toMatch(/needed +8 files, 4\.1 MB\n +to download +4\.1 MB\n/);
    expect(stdout).toMatch(/model\.safetensors +4\.08 MB +no\n/);
    expect(stdout).toMatch(/^ +config\.json +[\d.]+ kB +yes$/m);
    expect(stdout).not.toContain("reference.safetensors");
    const whole = await rig.run(["inspect", "shapes/llava", "--json"], { env });
    const { commit, missing, files } = JSON.parse(whole.stdout);
    expect([commit, missing]).toEqual([COMMIT, 0]);
    expect(files.find(({ name }: { name: string }) => name === "reference.safetensors")).toMatchObject({
      wanted: false,
    });
    expect((await rig.run(["inspect", LLAVA, "--revision", "main"])).stderr).toContain("error[HUB008]");
  });

  it("plan from config.json alone, and give a convert line that downloads", async () => {
    const own = { ...env, HF_HOME: join(rig.dir, "plan") };
    hub.takeSeen();
    const { code, stdout } = await rig.run(["plan", "shapes/llava", "--revision", "main"], { env: own });
    expect(code).toBe(0);
    expect(stdout).toContain("mmtrt convert shapes/llava --output_dir checkpoint --revision main");
    expect(stdout).toMatch(/parameters +2\.03 million/);
    expect(
      hub
        .takeSeen()
        .filter(({ path }) => path.includes("/resolve/"))
        .map(({ path }) => path),
    ).toEqual([`/shapes/llava/resolve/${COMMIT}/config.json`]);
  });

  it("plan with the image processor's numbers, where tokens are counted by them", async () => {
    hub.repos.set("shapes/smolvlm", repoOf(join(ROOT, "test/fixtures/models/smolvlm-shapes"), COMMIT));
    const own = { ...env, HF_HOME: join(rig.dir, "plan-tiles") };
    hub.takeSeen();
    const { code, stdout, stderr } = await rig.run(["plan", "shapes/smolvlm", "--images", "96x64"], { env: own });
    expect(code, stderr).toBe(0);
    // Tiles of 32 by the file; the class's own are of 364.
    expect(stdout).toMatch(/96x64.*28/);
    expect(stderr).not.toContain("warning");
    expect(
      hub
        .takeSeen()
        .filter(({ path }) => path.includes("/resolve/"))
        .map(({ path }) => path.split("/").at(-1))
        .sort(),
    ).toEqual(["config.json", "preprocessor_config.json", "processor_config.json"]);
  });

  it("synthesize weights for it", async () => {
    const argv = ["synth", "made", "--model_config", "shapes/llava", "--json"];
    const { code, stdout } = await rig.run(argv, { env });
    expect(code).toBe(0);
    const { tensors } = JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "{}");
    expect(tensors).toBeGreaterThan(50);
    expect(JSON.parse(readFileSync(join(rig.dir, "made/config.json"), "utf8")).model_type).toBe("llava");
  });
});

/** Resolves when the file has so many bytes. */
function grown(file: string, bytes: number): Promise<void> {
  return new Promise(resolve => {
    mkdirSync(join(file, ".."), { recursive: true });
    const look = (): void => {
      if (!existsSync(file) || statSync(file).size < bytes) return;
      watcher.close();
      resolve();
    };
    const watcher = watch(join(file, ".."), look);
    look();
  });
}
