import type { Problem } from "../../diagnostics/index.ts";
import { badValue } from "../../options/bad-value.ts";
import { besideFile } from "../../options/beside.ts";
import type { OptionValue } from "../../options/define.ts";
import { asRecord, type YamlPath, type YamlSource } from "../../options/yaml-source.ts";
import { type CellCommand, COMMANDS_OF_CELL, type Layer, type Setting } from "./cell.ts";
import { commandsWith, readValue, specOf } from "./options.ts";

/** Turns parts of the file into settings; what is wrong with values is collected in `problems`. */
export class LayerReader {
  readonly source: YamlSource;
  readonly problems: Problem[] = [];

  constructor(source: YamlSource) {
    this.source = source;
  }

  /** The options at `path`; keys that are no options (`when`, `name`, `model`) are somebody else's. */
  layer(path: YamlPath): Layer {
    const data = this.source.valueAt(path);
    if (typeof data === "string") return { settings: this.#settings("model_dir", data, path) };
    const record = asRecord(data);
    const bare = Object.entries(record).flatMap(([key, value]) => this.#settings(key, value, [...path, key]));
    const own = COMMANDS_OF_CELL.flatMap(command =>
      Object.entries(asRecord(record[command])).flatMap(([key, value]) =>
        this.#setting(command, key, value, [...path, command, key]),
      ),
    );
    const flags = record.trtexec_flags;
    return {
      settings: [...bare, ...own],
      ...(Array.isArray(flags) && { trtexecFlags: flags.map(String) }),
    };
  }

  /** An option's value, or undefined once a problem has been told. */
  value(command: CellCommand, key: string, data: unknown, path: YamlPath): OptionValue | undefined {
    const spec = specOf(command, key);
    const value = readValue(spec, data);
    if (value === undefined) {
      this.problems.push(badValue(key, spec, data, this.source.at(path, "value"), `${key}: `));
      return undefined;
    }
    if (spec.type !== "path") return value;
    const placed = (path: unknown): string => besideFile(this.source.file, String(path), spec);
    return Array.isArray(value) ? value.map(placed) : placed(value);
  }

  #settings(key: string, data: unknown, path: YamlPath): readonly Setting[] {
    return commandsWith(key).flatMap(command => this.#setting(command, key, data, path));
  }

  #setting(command: CellCommand, key: string, data: unknown, path: YamlPath): readonly Setting[] {
    const value = this.value(command, key, data, path);
    return value === undefined ? [] : [{ command, key, value, origin: this.source.at(path, "value") }];
  }
}
