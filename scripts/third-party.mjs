// The licences of the packages that are inlined into dist/, as their terms ask: one text file beside the bundles.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const LICENCE = /^(licen[cs]e|notice|copying)(\.(md|txt))?$/i;

/** `node_modules/@scope/name/…` → `node_modules/@scope/name`; the innermost one when packages nest. */
function packageOf(input) {
  const parts = input.split("/");
  const at = parts.lastIndexOf("node_modules");
  if (at < 0) return undefined;
  return parts.slice(0, at + (parts[at + 1].startsWith("@") ? 3 : 2)).join("/");
}

/** Throws for a package without a licence file whose package.json names no licence either: it must not be shipped unseen. */
export function thirdPartyLicences(root, inputs) {
  const packages = [...new Set(inputs.map(packageOf).filter(dir => dir !== undefined))].sort();
  return packages
    .map(dir => {
      const { name, version, license, author } = JSON.parse(readFileSync(join(root, dir, "package.json"), "utf8"));
      const files = existsSync(join(root, dir)) ? readdirSync(join(root, dir)).filter(file => LICENCE.test(file)) : [];
      if (files.length === 0 && license === undefined) throw new Error(`${name} is bundled and has no licence`);
      const texts = files.map(file => readFileSync(join(root, dir, file), "utf8").trim());
      const owner = typeof author === "string" ? author : (author?.name ?? "");
      return [`${name} ${version} (${license})`, ...(texts.length > 0 ? texts : [owner])].join("\n\n");
    })
    .join(`\n\n${"-".repeat(100)}\n\n`);
}
