// Beside the peers: `npx tsx bench/run.ts SUBJECT… --peers DIR --dir DIR [--runs N] [--threads N] [--only TEXT] [--processor]` after `npm run build`; see
// bench/README.md for what DIR needs. Prints each figure and appends the run to bench/results/DAY.jsonl.
import { parseArgs } from "node:util";
import type { Figure } from "./support/figures.ts";
import { DEFAULT_THREADS, placeOf } from "./support/place.ts";
import { record } from "./support/record.ts";
import { versionsOf } from "./support/versions.ts";

const SUBJECTS = {
  convert: async () => (await import("./subjects/convert.ts")).convert,
  startup: async () => (await import("./subjects/startup.ts")).startup,
  install: async () => (await import("./subjects/install.ts")).install,
  emission: async () => (await import("./subjects/emission.ts")).emission,
  export: async () => (await import("./subjects/export.ts")).exportModel,
  memory: async () => (await import("./subjects/memory.ts")).memory,
  "first-token": async () => (await import("./subjects/first-token.ts")).firstToken,
  vision: async () => (await import("./subjects/vision.ts")).vision,
  session: async () => (await import("./subjects/session.ts")).session,
} as const;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    peers: { type: "string" },
    dir: { type: "string" },
    runs: { type: "string", default: "5" },
    threads: { type: "string", default: String(DEFAULT_THREADS) },
    processor: { type: "boolean", default: false },
    only: { type: "string" },
    dry: { type: "boolean", default: false },
  },
});
const known = (name: string): name is keyof typeof SUBJECTS => name in SUBJECTS;
const usage = `npx tsx bench/run.ts ${Object.keys(SUBJECTS).join("|")}… --peers DIR --dir DIR`;
if (values.peers === undefined || values.dir === undefined || positionals.length === 0) throw new Error(usage);
const place = placeOf(values.dir, values.peers, {
  runs: Number(values.runs),
  threads: Number(values.threads),
  by: values.processor ? "cpu" : "seconds",
  only: values.only,
});

for (const name of positionals) {
  if (!known(name)) throw new Error(`${name} is none of ${Object.keys(SUBJECTS).join(", ")}`);
  const subject = await SUBJECTS[name]();
  const figures: readonly Figure[] = await subject(place);
  if (!values.dry) record(name, figures, versionsOf(place));
}
