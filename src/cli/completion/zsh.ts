import type { CompletedCommand, CompletedFlag, Expected } from "./words.ts";

/** For a file _mmtrt on fpath, where its first line is read, and for eval after compinit. */
export function zshCompletion(commands: readonly CompletedCommand[], version: string): string {
  const menu = commands.map(({ name, about }) => `    ${quoted(`${name}:${colons(about)}`)}`);
  return `#compdef mmtrt
# zsh completion of mmtrt ${version}, made by: mmtrt completion zsh
_mmtrt() {
  local -a commands
  commands=(
${menu.join("\n")}
    'help:Show the whole page of a command'
  )
  if (( CURRENT == 2 )); then
    _describe -t commands command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
    help) _describe -t commands command commands ;;
${commands.map(caseOf).join("\n")}
  esac
}
if [[ $funcstack[1] == _mmtrt ]]; then _mmtrt "$@"; else compdef _mmtrt mmtrt; fi
`;
}

function caseOf({ name, flags, words }: CompletedCommand): string {
  const specs = [
    ...flags.flatMap(flag => flag.names.map(spelled => quoted(flagSpec(spelled, flag)))),
    ...words.map((word, i) => quoted(`${word.list ? "*" : i + 1}:${colons(word.label)}:${action(word)}`)),
  ];
  return `    ${name})\n      _arguments -S ${specs.map(spec => `\\\n        ${spec}`).join(" ")} ;;`;
}

/** `--dtype=[…]:value:(auto float16)`: with = both forms are known, --dtype auto and --dtype=auto. */
function flagSpec(name: string, { about, takes, list }: CompletedFlag): string {
  const text = `[${about.replace(/[\\[\]:]/g, "\\$&")}]`;
  if (takes.kind === "nothing") return `${name}${text}`;
  return `${list ? "*" : ""}${name}${name.startsWith("--") ? "=" : ""}${text}:value:${action(takes)}`;
}

function action(takes: Expected): string {
  if (takes.kind === "words") return `(${takes.words.join(" ")})`;
  return takes.kind === "path" ? "_files" : " ";
}

function colons(text: string): string {
  return text.replace(/[\\:]/g, "\\$&");
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
