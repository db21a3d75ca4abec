import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Figure, Measured } from "../bench/support/figures.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const RESULTS = join(ROOT, "bench/results");
const PAGE = join(ROOT, "docs/performance.md");
/** What stands between a line that names a subject of bench/run.ts and the end of its table. */
const TABLE = /(<!-- figures: (?<subject>[a-z-]+) -->\n).*?(<!-- end -->)/gs;

/** docs/performance.md with its tables made again from bench/results; what is written around them stays. */
export async function performancePage(): Promise<string> {
  const newest = newestOf(await measured());
  const page = await readFile(PAGE, "utf8");
  return page.replace(TABLE, (_, begin: string, subject: string, end: string) => {
    const found = newest.get(subject);
    if (found === undefined) throw new Error(`docs/performance.md names ${subject}, which bench/results does not have`);
    return `${begin}\n${tableOf([...found.values()])}\n\n${end}`;
  });
}

/** A figure and the run that it is from. */
interface Found {
  readonly figure: Figure;
  readonly run: Measured;
}

type BySubject = ReadonlyMap<string, ReadonlyMap<string, Found>>;

/** The last figure of each case; lines are appended, so that is the newest. */
function newestOf(runs: readonly Measured[]): BySubject {
  const subjects = new Map<string, Map<string, Found>>();
  for (const run of runs) {
    const cases = subjects.get(run.bench) ?? new Map<string, Found>();
    for (const figure of run.figures) cases.set(figure.case, { figure, run });
    subjects.set(run.bench, cases);
  }
  return subjects;
}

async function measured(): Promise<readonly Measured[]> {
  const files = (await readdir(RESULTS)).filter(name => name.endsWith(".jsonl")).sort();
  const texts = await Promise.all(files.map(name => readFile(join(RESULTS, name), "utf8")));
  const lines = texts.flatMap(text => text.split("\n").filter(line => line.trim() !== ""));
  return lines.map(line => JSON.parse(line) as Partial<Measured>).filter((run): run is Measured => run.peers === true);
}

function tableOf(found: readonly Found[]): string {
  const programs = [...new Set(found.flatMap(({ figure }) => Object.keys(figure.values)))];
  const hasRatio = found.some(({ figure }) => figure.ratio !== undefined);
  const hasRss = found.some(({ figure }) => figure.rss !== undefined);
  const head = ["", "", ...programs, ...(hasRatio ? ["ratio", "wanted"] : []), ...(hasRss ? ["RSS, MB"] : []), ""];
  const rows = found.map(({ figure }) => [
    figure.case,
    figure.unit,
    ...programs.map(program => text(figure.values[program])),
    ...(hasRatio ? [figure.ratio ? `${figure.ratio.is} × ${figure.ratio.to}` : "", figure.ratio?.wanted ?? ""] : []),
    ...(hasRss
      ? [
          Object.values(figure.rss ?? {})
            .map(Math.round)
            .join(" / "),
        ]
      : []),
    figure.note ?? "",
  ]);
  return [line(head), `|${head.map(() => "---|").join("")}`, ...rows.map(line), "", ...conditions(found)].join("\n");
}

function text(value: number | undefined): string {
  return value === undefined ? "" : String(value);
}

function line(cells: readonly string[]): string {
  return `| ${cells.map(cell => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

/** How the rows were measured: once for each run of the bench. */
function conditions(found: readonly Found[]): readonly string[] {
  const runs = [...new Set(found.map(({ run }) => run))];
  const texts = runs.map(({ command, machine, versions }) => {
    const { cpu, cores, memory_gib, simd } = machine;
    const installed = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
    return `\`${command}\` on ${cores} cores of ${cpu} (${simd}), ${memory_gib} GiB; ${installed.join(", ")}.`;
  });
  return [...new Set(texts)].map(each => `- ${each}`);
}
