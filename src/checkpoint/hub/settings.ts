import { join } from "node:path";
import { smallText } from "../../formats/file.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** Where the Hub is, who asks, and where downloads lie: the variables that Hugging Face's own Python package reads. */
export interface HubSettings {
  /** Without a slash at the end. */
  readonly endpoint: string;
  readonly token: string | undefined;
  /** Holds `models--org--name`. */
  readonly cacheDir: string;
  /** No request is made; the cache has to do. */
  readonly offline: boolean;
  /** A connection that brings no byte for so long is given up and tried again. */
  readonly stallMs: number;
}

const ENDPOINT = "https://huggingface.co";
const STALL_MS = 60_000;
/** A token has about 40 characters; a wrong path may lead to anything. */
const MAX_TOKEN = 4096;

/** Errors: none; a token file that cannot be read is no token. */
export async function hubSettings(env: Environment, home: string): Promise<HubSettings> {
  const given = (name: string): string | undefined => (env[name]?.trim() ? env[name]?.trim() : undefined);
  const path = (text: string): string => (text === "~" || text.startsWith("~/") ? join(home, text.slice(1)) : text);
  const hfHome = path(given("HF_HOME") ?? join(given("XDG_CACHE_HOME") ?? join(home, ".cache"), "huggingface"));
  const stall = Number(given("HF_HUB_DOWNLOAD_TIMEOUT") ?? Number.NaN);
  return {
    endpoint: (given("HF_ENDPOINT") ?? ENDPOINT).replace(/\/+$/, ""),
    token:
      given("HF_TOKEN") ??
      given("HUGGING_FACE_HUB_TOKEN") ??
      (await readToken(path(given("HF_TOKEN_PATH") ?? join(hfHome, "token")))),
    cacheDir: path(given("HF_HUB_CACHE") ?? given("HUGGINGFACE_HUB_CACHE") ?? join(hfHome, "hub")),
    offline: isTrue(given("HF_HUB_OFFLINE")) || isTrue(given("TRANSFORMERS_OFFLINE")),
    stallMs: stall > 0 ? Math.min(stall * 1000, 2 ** 31 - 1) : STALL_MS,
  };
}

async function readToken(file: string): Promise<string | undefined> {
  const text = await smallText(file);
  const token = text.length <= MAX_TOKEN ? text.trim() : "";
  // A line break would end the header; such a file is no token.
  return /^[\x21-\x7e]+$/.test(token) ? token : undefined;
}

function isTrue(value: string | undefined): boolean {
  return value !== undefined && ["1", "ON", "YES", "TRUE"].includes(value.toUpperCase());
}
