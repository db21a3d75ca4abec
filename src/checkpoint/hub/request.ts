import type { Problem } from "../../diagnostics/index.ts";
import type { DownloadRecord } from "../manifest.ts";
import type { Pause } from "./http.ts";
import type { HubName } from "./name.ts";
import type { HubSettings } from "./settings.ts";

export interface HubProgress {
  readonly label: string;
  /** Bytes of this call; what was there already does not count. */
  readonly done: number;
  readonly total: number;
}

export interface HubRequest {
  readonly name: HubName;
  readonly settings: HubSettings;
  /** config.json alone: a plan needs no weights. */
  readonly configOnly?: boolean;
  readonly signal: AbortSignal;
  onProgress?(progress: HubProgress): void;
  /** Another process fetches the same file. */
  onWait?(file: string): void;
  /** Stand-in of a test for the pauses between attempts. */
  readonly pause?: Pause;
}

/** Repository, revision as asked for, commit. */
export type HubRecord = Omit<DownloadRecord, "option">;

export interface Snapshot extends HubRecord {
  /** The directory with the model's files, in the Hub's cache. */
  readonly dir: string;
  readonly warnings: readonly Problem[];
}

/** A file of a repository, as far as mmtrt is concerned. */
export interface SurveyedFile {
  readonly name: string;
  readonly size: number;
  /** convert reads it. */
  readonly wanted: boolean;
  /** Its bytes are in the cache. */
  readonly cached: boolean;
}

export interface Survey extends HubRecord {
  readonly files: readonly SurveyedFile[];
  /** Bytes that `download` would fetch now. */
  readonly missing: number;
  readonly warnings: readonly Problem[];
}
