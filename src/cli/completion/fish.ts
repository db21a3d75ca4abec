import type { CompletedCommand, CompletedFlag, Expected } from "./words.ts";

/** For ~/.config/fish/completions/mmtrt.fish. */
export function fishCompletion(commands: readonly CompletedCommand[], version: string): string {
  const names = commands.map(({ name }) => name).join(" ");
  return [
    `# fish completion of mmtrt ${version}, made by: mmtrt completion fish`,
    "complete -c mmtrt -f",
    ...commands.map(({ name, about }) => `complete -c mmtrt -n __fish_use_subcommand -a ${name} -d ${quoted(about)}`),
    "complete -c mmtrt -n __fish_use_subcommand -a help -d 'Show the whole page of a command'",
    `complete -c mmtrt -n '__fish_seen_subcommand_from help' -a '${names}'`,
    ...commands.flatMap(linesOf),
    "",
  ].join("\n");
}

function linesOf({ name, flags, words }: CompletedCommand): readonly string[] {
  const start = `complete -c mmtrt -n '__fish_seen_subcommand_from ${name}'`;
  return [
    ...flags.map(flag => `${start} ${flagWords(flag)}`),
    ...words.filter(word => word.kind !== "free").map(word => `${start} ${argument(word)}`),
  ];
}

function flagWords({ names, about, takes }: CompletedFlag): string {
  const spelled = names.map(name => (name.startsWith("--") ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`));
  const value = takes.kind === "nothing" ? [] : takes.kind === "free" ? ["-x"] : [`-r ${argument(takes)}`];
  return [...spelled, ...value, "-d", quoted(about)].join(" ");
}

function argument(takes: Expected): string {
  return takes.kind === "words" ? `-f -a ${quoted(takes.words.join(" "))}` : "-F";
}

function quoted(text: string): string {
  return `'${text.replace(/[\\']/g, "\\$&")}'`;
}
