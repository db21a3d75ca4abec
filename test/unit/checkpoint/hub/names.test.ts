import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { hubNameOf, parseHubName } from "../../../../src/checkpoint/hub/name.ts";
import { hubSettings } from "../../../../src/checkpoint/hub/settings.ts";

const home = mkdtempSync(join(tmpdir(), "mmtrt-hub-"));
afterAll(() => rmSync(home, { recursive: true, force: true }));
const at = (key: string): string => `--${key}`;

describe("a name of the Hub", () => {
  it.each([
    ["llava-hf/llava-1.5-7b-hf", "llava-hf/llava-1.5-7b-hf", undefined],
    ["Efficient-Large-Model/VILA1.5-3b@v1.0", "Efficient-Large-Model/VILA1.5-3b", "v1.0"],
    ["facebook/opt-2.7b@refs/pr/19", "facebook/opt-2.7b", "refs/pr/19"],
    ["hf://gpt2", "gpt2", undefined],
    ["hf://a/b@main", "a/b", "main"],
  ])("is read from %s", (text, repo, revision) => {
    expect(parseHubName(text)).toEqual({ repo, revision });
  });

  it.each([
    "gpt2",
    "./models/llava",
    "../llava",
    "/models/llava",
    "~/models/llava",
    "models/llava/",
    "a/b/c",
    "models/llama.gguf",
    "a/b@",
    "a/b@../../etc",
    "a/b@c@d",
    "a/b@x/./y",
    "a/..",
    "a/b--c",
    "-a/b",
    "a/b c",
    "C:\\models\\llava",
    "https://huggingface.co/a/b",
    `a/${"b".repeat(97)}`,
    "",
  ])("is not read from %j", text => {
    expect(parseHubName(text)).toBeUndefined();
  });

  it("is never what exists on disk, unless hf:// says so", async () => {
    const dir = join(home, "there");
    mkdirSync(dir);
    expect(await hubNameOf(dir, undefined, at, "model_dir")).toBeUndefined();
    const cwd = process.cwd();
    process.chdir(home);
    try {
      mkdirSync("models/llava", { recursive: true });
      expect(await hubNameOf("models/llava", undefined, at, "model_dir")).toBeUndefined();
      expect(await hubNameOf("models/lava", undefined, at, "model_dir")).toEqual({ repo: "models/lava" });
      expect(await hubNameOf("hf://models/llava", undefined, at, "model_dir")).toEqual({ repo: "models/llava" });
    } finally {
      process.chdir(cwd);
    }
  });

  it("takes --revision, and refuses one that says nothing or contradicts", async () => {
    expect(await hubNameOf("a/b", "v1", at, "model_dir")).toEqual({ repo: "a/b", revision: "v1" });
    expect(await hubNameOf("a/b@v1", "v1", at, "model_dir")).toEqual({ repo: "a/b", revision: "v1" });
    await expect(hubNameOf("a/b@v1", "v2", at, "model_dir")).rejects.toThrow(/HUB008.*a\/b@v1 and v2/);
    await expect(hubNameOf(home, "v2", at, "model_dir")).rejects.toThrow(/HUB008.*not a model of the Hub/);
    await expect(hubNameOf("a/b", "../x", at, "model_dir")).rejects.toThrow(/HUB008.*is no revision/);
    await expect(hubNameOf("hf://a/b/c", undefined, at, "model_dir")).rejects.toThrow(/HUB008.*does not name a model/);
  });
});

describe("the settings of the Hub", () => {
  it("are those of Hugging Face's Python package, with its defaults", async () => {
    expect(await hubSettings({}, home)).toEqual({
      endpoint: "https://huggingface.co",
      token: undefined,
      cacheDir: join(home, ".cache/huggingface/hub"),
      offline: false,
      stallMs: 60_000,
    });
  });

  it("take the token from the first place that has one", async () => {
    const hfHome = join(home, "hf");
    mkdirSync(hfHome);
    writeFileSync(join(hfHome, "token"), "hf_file\n");
    writeFileSync(join(home, "elsewhere"), "hf_elsewhere");
    const tokenOf = async (env: Record<string, string>): Promise<string | undefined> =>
      (await hubSettings({ HF_HOME: hfHome, ...env }, home)).token;
    expect(await tokenOf({})).toBe("hf_file");
    expect(await tokenOf({ HF_TOKEN_PATH: "~/elsewhere" })).toBe("hf_elsewhere");
    expect(await tokenOf({ HUGGING_FACE_HUB_TOKEN: "hf_old" })).toBe("hf_old");
    expect(await tokenOf({ HUGGING_FACE_HUB_TOKEN: "hf_old", HF_TOKEN: " hf_new " })).toBe("hf_new");
    expect(await tokenOf({ HF_TOKEN: "" })).toBe("hf_file");
    expect(await tokenOf({ HF_TOKEN_PATH: home })).toBeUndefined();
    writeFileSync(join(home, "elsewhere"), "two\nlines");
    expect(await tokenOf({ HF_TOKEN_PATH: "~/elsewhere" })).toBeUndefined();
  });

  it("put the cache where the variables say", async () => {
    const cacheOf = async (env: Record<string, string>): Promise<string> => (await hubSettings(env, home)).cacheDir;
    expect(await cacheOf({ XDG_CACHE_HOME: "/x" })).toBe("/x/huggingface/hub");
    expect(await cacheOf({ XDG_CACHE_HOME: "/x", HF_HOME: "/h" })).toBe("/h/hub");
    expect(await cacheOf({ HF_HOME: "/h", HUGGINGFACE_HUB_CACHE: "/old" })).toBe("/old");
    expect(await cacheOf({ HF_HOME: "/h", HUGGINGFACE_HUB_CACHE: "/old", HF_HUB_CACHE: "~/new" })).toBe(
      join(home, "new"),
    );
  });

  it("know a mirror, the offline switches and the time to wait", async () => {
    const env = { HF_ENDPOINT: "https://mirror.example/", HF_HUB_OFFLINE: "1", HF_HUB_DOWNLOAD_TIMEOUT: "7" };
    expect(await hubSettings(env, home)).toMatchObject({
      endpoint: "https://mirror.example",
      offline: true,
      stallMs: 7000,
    });
    expect((await hubSettings({ TRANSFORMERS_OFFLINE: "yes" }, home)).offline).toBe(true);
    expect((await hubSettings({ HF_HUB_OFFLINE: "0", HF_HUB_DOWNLOAD_TIMEOUT: "soon" }, home)).stallMs).toBe(60_000);
  });
});
