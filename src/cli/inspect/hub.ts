import { homedir } from "node:os";
import { survey } from "../../checkpoint/hub/download.ts";
import type { HubName } from "../../checkpoint/hub/name.ts";
import { hubSettings } from "../../checkpoint/hub/settings.ts";
import { environment } from "../../options/env.ts";
import { formatAmount } from "../ui/progress.ts";
import type { Ui } from "../ui.ts";
import type { Report } from "./report.ts";

/** Which files of a repository a conversion would download, and what the cache has of them. */
export async function inspectHub(
  name: HubName,
  { ui, signal }: { readonly ui: Ui; readonly signal: AbortSignal },
): Promise<Report> {
  const settings = await hubSettings(environment(), homedir());
  const { files, missing, warnings, ...record } = await survey({ name, settings, signal });
  for (const warning of warnings) ui.warn(warning);
  const wanted = files.filter(file => file.wanted);
  const others = files.filter(file => !file.wanted);
  const bytes = (some: typeof files): string =>
    formatAmount(
      some.reduce((sum, { size }) => sum + size, 0),
      "B",
    );
  return {
    kind: "hub",
    facts: [
      ["revision", record.revision],
      ["commit", record.commit],
      ["needed", `${wanted.length} files, ${bytes(wanted)}`],
      ["to download", missing === 0 ? "nothing: all of it is in the cache" : formatAmount(missing, "B")],
      ["left out", others.length === 0 ? "nothing" : `${others.length} files, ${bytes(others)}`],
    ],
    tables: [
      {
        title: "files that mmtrt convert reads",
        head: ["file", "size", "cached"],
        rows: wanted.map(file => [file.name, formatAmount(file.size, "B"), file.cached ? "yes" : "no"]),
      },
    ],
    data: { ...record, missing, files },
  };
}
