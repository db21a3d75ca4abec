import type { Problem } from "../diagnostics/index.ts";
import type { Alias, OptionSpec, OptionTable } from "./define.ts";
import { nearest } from "./nearest.ts";
import { placeholderOf, SWITCH_WORDS } from "./value.ts";

/** One mention of an option on the command line, still text. */
export interface Mention {
  readonly key: string;
  /** As the user wrote it: `--max-batch-size`, `-i`, or `MODEL_DIR` for a word without a flag. */
  readonly flag: string;
  readonly texts: readonly string[];
  readonly alias?: Alias;
}

export interface ParsedArgv {
  readonly mentions: readonly Mention[];
  readonly passthrough: readonly string[] | undefined;
  readonly notes: readonly string[];
  problems(): readonly Problem[];
  /** Options that a problem is about: not to be reported as missing on top. */
  readonly bad: readonly string[];
}

interface Target {
  readonly key: string;
  readonly spec: OptionSpec;
  readonly alias?: Alias;
  readonly negated?: boolean;
}

/** Reads words into mentions; never throws, so that the values can be checked in the same go. */
export function parseArgv(table: OptionTable, argv: readonly string[]): ParsedArgv {
  return new ArgvParser(table, argv).parse();
}

/** `MODEL_DIR` for model_dir: what stands for a word without a flag. */
export function positionalName(key: string, spec: OptionSpec): string {
  return spec.placeholder ?? key.toUpperCase();
}

class ArgvParser {
  readonly #table: OptionTable;
  readonly #argv: readonly string[];
  readonly #targets: ReadonlyMap<string, Target>;
  readonly #mentions: Mention[] = [];
  readonly #notes: string[] = [];
  /** Made when asked for: a suggestion is a search, and the line is parsed for how to print before it is for what to do. */
  readonly #problems: (() => Problem)[] = [];
  readonly #bad: string[] = [];
  readonly #words: string[] = [];
  #next = 0;

  constructor(table: OptionTable, argv: readonly string[]) {
    this.#table = table;
    this.#argv = argv;
    this.#targets = targetsOf(table);
  }

  parse(): ParsedArgv {
    let passthrough: readonly string[] | undefined;
    while (this.#next < this.#argv.length) {
      const word = this.#argv[this.#next++] as string;
      if (word === "--") {
        passthrough = this.#argv.slice(this.#next);
        break;
      }
      if (word.startsWith("#")) this.#skipComment();
      else if (word.length > 1 && word.startsWith("-") && !isNumber(word)) this.#flag(word);
      else this.#words.push(word);
    }
    this.#assignWords();
    const problems = (): readonly Problem[] => this.#problems.map(make => make());
    return { mentions: this.#mentions, passthrough, notes: this.#notes, problems, bad: this.#bad };
  }

  /** Pasted lines often end in `# why`, which some shells hand over as words. */
  #skipComment(): void {
    const from = this.#next - 1;
    while (this.#next < this.#argv.length && !looksLikeFlag(this.#argv[this.#next] as string)) this.#next++;
    this.#notes.push(`ignored the comment: ${this.#argv.slice(from, this.#next).join(" ")}`);
  }

  #flag(word: string): void {
    const equals = word.indexOf("=");
    const typed = equals < 0 ? word : word.slice(0, equals);
    const inline = equals < 0 ? undefined : word.slice(equals + 1);
    const target = this.#targets.get(normalName(typed));
    if (target === undefined) {
      this.#problems.push(() => this.#unknown(typed));
      // Its value must not be taken for a word of its own and reported a second time.
      if (inline === undefined) this.#skipValues();
      return;
    }
    const texts = this.#texts(target, typed, inline);
    if (texts === undefined) {
      this.#bad.push(target.key);
      return;
    }
    this.#mentions.push({ key: target.key, flag: typed, texts, ...(target.alias && { alias: target.alias }) });
  }

  /** The value words of a flag; undefined once a missing one has been reported. */
  #texts(target: Target, typed: string, inline: string | undefined): readonly string[] | undefined {
    const { spec } = target;
    if (target.negated) {
      if (inline === undefined) return ["false"];
      this.#problems.push(() => ({
        code: "CFG002",
        at: `${typed} (command line)`,
        what: `${typed} takes no value, got ${inline}`,
        why: "the no_ form already says false",
        fix: `write ${typed} alone, or --${target.key}=${inline}`,
      }));
      return undefined;
    }
    const peek = this.#argv[this.#next];
    if (spec.type === "boolean") {
      if (inline !== undefined) return [inline];
      if (peek !== undefined && (SWITCH_WORDS.has(peek) || spec.words?.includes(peek))) {
        this.#next++;
        return [peek];
      }
      return ["true"];
    }
    const texts = inline !== undefined ? [inline] : this.#valueWords(spec.list === true);
    if (texts.length === 0 && target.alias?.bare !== undefined) return [target.alias.bare];
    if (texts.length === 0) {
      this.#problems.push(() => ({
        code: "CFG003",
        at: `${typed} (command line)`,
        what: `${typed} has no value`,
        why: spec.about,
        fix: `${typed} ${placeholderOf(spec)}`,
      }));
      return undefined;
    }
    return spec.list && spec.commas !== false ? texts.flatMap(text => text.split(",").map(part => part.trim())) : texts;
  }

  #valueWords(many: boolean): string[] {
    const taken: string[] = [];
    while (this.#next < this.#argv.length && (many || taken.length === 0)) {
      const word = this.#argv[this.#next] as string;
      if (word === "--" || this.#isFlag(word) || (taken.length > 0 && word === "#")) break;
      taken.push(word);
      this.#next++;
    }
    return taken;
  }

  #skipValues(): void {
    while (this.#next < this.#argv.length && !looksLikeFlag(this.#argv[this.#next] as string)) this.#next++;
  }

  #isFlag(word: string): boolean {
    return looksLikeFlag(word) && (word.startsWith("--") || this.#targets.has(normalName(word)));
  }

  #assignWords(): void {
    const takers = Object.entries(this.#table).filter(([, spec]) => spec.positional);
    const words = [...this.#words];
    for (const [key, spec] of takers) {
      if (this.#mentions.some(m => m.key === key)) continue;
      const texts = spec.list ? words.splice(0) : words.splice(0, 1);
      if (texts.length > 0) this.#mentions.push({ key, flag: positionalName(key, spec), texts });
    }
    for (const word of words) {
      const names = takers.map(([key, spec]) => positionalName(key, spec)).join(" ");
      this.#problems.push(() => ({
        code: "CFG009",
        at: `${word} (command line)`,
        what: `${word} belongs to no option`,
        why:
          names === ""
            ? "the command takes no words without a flag"
            : `the command takes ${names} and nothing more without a flag`,
        fix: "put the flag it belongs to before it, or quotes around a text with spaces",
      }));
    }
  }

  #unknown(typed: string): Problem {
    const guess = nearest(normalName(typed), [...this.#targets.keys()]);
    return {
      code: "CFG001",
      at: `${typed} (command line)`,
      what: `unknown flag ${typed}`,
      why: "a flag that is not known would be left out in silence",
      fix:
        guess === undefined
          ? "--help lists the flags of this command"
          : `did you mean ${guess.length === 1 ? "-" : "--"}${guess}?`,
    };
  }
}

function targetsOf(table: OptionTable): ReadonlyMap<string, Target> {
  const targets = new Map<string, Target>();
  for (const [key, spec] of Object.entries(table)) {
    targets.set(key, { key, spec });
    if (spec.type === "boolean") targets.set(`no_${key}`, { key, spec, negated: true });
    if (spec.short !== undefined) targets.set(spec.short, { key, spec });
    for (const alias of spec.aliases ?? []) targets.set(alias.name, { key, spec, alias });
  }
  return targets;
}

/** `--max-batch-size` → `max_batch_size`. */
function normalName(typed: string): string {
  return typed.replace(/^-{1,2}/, "").replaceAll("-", "_");
}

function looksLikeFlag(word: string): boolean {
  return /^--?[A-Za-z][\w-]*(=|$)/.test(word) || word === "--";
}

function isNumber(word: string): boolean {
  return /^-(\d|\.\d)/.test(word);
}
