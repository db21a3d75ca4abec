import type { CompletedCommand, Expected } from "./words.ts";

/**
 * Runs in bash 3.2 too, which macOS has. Where nothing is offered, `-o default` lets readline complete file names, with its own quoting
 * and tildes; `compopt` puts that out where a file makes no sense, in shells that have it.
 */
export function bashCompletion(commands: readonly CompletedCommand[], version: string): string {
  const names = [...commands.map(({ name }) => name), "help", "--help", "--version"].join(" ");
  return `# bash completion of mmtrt ${version}, made by: mmtrt completion bash
_mmtrt() {
  local cur prev flags= words= files=yes before=
  COMPREPLY=()
  cur=\${COMP_WORDS[COMP_CWORD]}
  prev=\${COMP_WORDS[COMP_CWORD-1]}
  # bash takes --flag=value for three words.
  if [[ $cur == = ]]; then cur=; elif [[ $prev == = ]]; then prev=\${COMP_WORDS[COMP_CWORD-2]}; fi
  if (( COMP_CWORD == 1 )); then
    words="${names}" files=
  elif [[ \${COMP_WORDS[1]} == help ]]; then
    words="${commands.map(({ name }) => name).join(" ")}" files=
  elif [[ " \${COMP_WORDS[*]:0:COMP_CWORD} " == *" -- "* ]]; then
    return
  else
    case \${COMP_WORDS[1]} in
${commands.map(caseOf).join("\n")}
    esac
  fi
  if [[ $cur == -* && -n $flags ]]; then words=$flags files=; fi
  if [[ -n $words ]]; then COMPREPLY=($(compgen -W "$words" -- "$cur")); fi
  if [[ -z $files ]]; then compopt +o default 2>/dev/null; fi
}
complete -o default -F _mmtrt mmtrt
`;
}

function caseOf({ name, flags, words: [first] }: CompletedCommand): string {
  const after = flags
    .filter(({ takes }) => takes.kind !== "nothing")
    .map(({ names, takes }) => `          ${names.join("|")}) ${effect(takes)} flags= ;;`);
  const alone = first === undefined ? { kind: "free" as const } : first;
  return [
    `      ${name})`,
    `        flags="${flags.flatMap(({ names }) => names).join(" ")}"`,
    "        case $prev in",
    ...after,
    `          *) ${effect(alone)} ;;`,
    "        esac ;;",
  ].join("\n");
}

function effect(takes: Expected): string {
  if (takes.kind === "words") return `words="${takes.words.join(" ")}" files=`;
  return takes.kind === "path" ? "files=yes" : "files=";
}
