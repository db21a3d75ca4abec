import { fail, MmtrtError } from "../../diagnostics/index.ts";
import type { HubName } from "./name.ts";
import { statusProblem, unreachable, unusable } from "./problems.ts";
import type { HubSettings } from "./settings.ts";

/** A page of the list of files has 1000 entries of about 300 bytes. */
const MAX_ANSWER = 32 << 20;
/** The Hub is busy, or a server of it is being replaced. */
const PASSING = [429, 500, 502, 503, 504];
const ATTEMPTS = 3;
const MAX_PAUSE_MS = 30_000;

export type Pause = (ms: number, signal: AbortSignal) => Promise<void>;

/** Requests about one model, with refusals as problems. */
export class HubHttp {
  readonly #name: HubName;
  readonly #settings: HubSettings;
  readonly #signal: AbortSignal;
  readonly #pause: Pause;

  constructor(name: HubName, settings: HubSettings, signal: AbortSignal, pause: Pause) {
    this.#name = name;
    this.#settings = settings;
    this.#signal = signal;
    this.#pause = pause;
  }

  /**
   * A `fetch` for the API: only to the endpoint itself, with a bounded body, again when the Hub is busy. It has the token
   * in its headers already.
   * Errors: HUB001–HUB003, HUB007.
   */
  readonly api = async (input: string | URL | Request, init: RequestInit = {}): Promise<Response> => {
    const url = String(input instanceof Request ? input.url : input);
    if (new URL(url).origin !== new URL(this.#settings.endpoint).origin)
      fail(unusable(this.#asked(url), "it sends the next request to another server"));
    const response = await this.#patiently(url, init);
    const body = await this.#body(url, response);
    return new Response(body, { status: response.status, headers: response.headers });
  };

  /**
   * The bytes of a file from `offset`. A redirect to another server (the Hub's storage) loses the token on the way, as
   * fetch does by itself. `signal` ends it. Errors: HUB001–HUB003.
   */
  async file(url: string, offset: number, signal: AbortSignal): Promise<Response> {
    const { token } = this.#settings;
    const headers = {
      // A packed answer would have other byte offsets.
      "accept-encoding": "identity",
      ...(offset > 0 && { range: `bytes=${offset}-` }),
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    };
    return this.#accepted(url, await this.#send(url, { headers }, signal));
  }

  async #patiently(url: string, init: RequestInit): Promise<Response> {
    for (let attempt = 1; ; attempt++) {
      const response = await this.#send(url, init, AbortSignal.timeout(this.#settings.stallMs));
      if (attempt === ATTEMPTS || !PASSING.includes(response.status)) return this.#accepted(url, response);
      await response.body?.cancel();
      const asked = Number(response.headers.get("retry-after") ?? Number.NaN) * 1000;
      await this.#pause(Math.min(asked > 0 ? asked : 1000 * attempt, MAX_PAUSE_MS), this.#signal);
    }
  }

  async #send(url: string, init: RequestInit, signal: AbortSignal): Promise<Response> {
    return fetch(url, { ...init, signal: AbortSignal.any([this.#signal, signal]) }).catch((error: unknown) =>
      this.broken(url, error),
    );
  }

  async #accepted(url: string, response: Response): Promise<Response> {
    // 416: asked to go on behind the end; the caller begins anew.
    if (response.ok || response.status === 416) return response;
    const [code, message] = ["x-error-code", "x-error-message"].map(header => response.headers.get(header) ?? "");
    await response.body?.cancel();
    return fail(statusProblem(this.#asked(url), response.status, code as string, message as string));
  }

  async #body(url: string, response: Response): Promise<Uint8Array<ArrayBuffer>> {
    const chunks: Uint8Array[] = [];
    let size = 0;
    try {
      for await (const chunk of response.body ?? []) {
        size += chunk.byteLength;
        if (size > MAX_ANSWER) fail(unusable(this.#asked(url), `it has more than ${MAX_ANSWER >> 20} MB`));
        chunks.push(chunk);
      }
    } catch (error) {
      return this.broken(url, error);
    }
    const body = new Uint8Array(size);
    let at = 0;
    for (const chunk of chunks) {
      body.set(chunk, at);
      at += chunk.byteLength;
    }
    return body;
  }

  /** What ended a request: the user, or HUB003 for the network. */
  broken(url: string, error: unknown): never {
    if (error instanceof MmtrtError) throw error;
    this.#signal.throwIfAborted();
    throw new MmtrtError([unreachable(this.#asked(url), `cannot be reached: ${reasonOf(error)}`, whyOf(error))], {
      cause: error,
    });
  }

  #asked(url: string): { name: HubName; settings: HubSettings; url: string } {
    return { name: this.#name, settings: this.#settings, url };
  }
}

/** fetch says `fetch failed`; what failed is in its cause, for two addresses of a name in a list. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof AggregateError && error.errors.length > 0) return reasonOf(error.errors[0]);
  return error.cause instanceof Error ? reasonOf(error.cause) : error.message;
}

function whyOf(error: unknown): string {
  const reason = reasonOf(error);
  if (/ENOTFOUND|EAI_AGAIN/.test(reason)) return "its name is not known here: there is no network, or no name server";
  if (/ECONNREFUSED/.test(reason)) return "nothing listens there";
  if (/timeout/i.test(reason)) return "it did not answer in time";
  return "the network broke off";
}
