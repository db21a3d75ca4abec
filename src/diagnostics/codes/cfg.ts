import type { CodeInfo } from "../code-info.ts";

export const CFG = {
  CFG001: {
    exit: 2,
    title: "unknown flag",
    about:
      "The command has no flag of this name. The message names the nearest one; `mmtrt COMMAND --help` lists all. A flag is never ignored, because a mistyped limit would build another engine than the one asked for.",
  },
  CFG002: {
    exit: 2,
    title: "an option has an unusable value",
    about:
      "The value has another type than the option, is out of its range, or is not one of its words. `mmtrt COMMAND --help` shows type, range and default.",
  },
  CFG003: {
    exit: 2,
    title: "a flag has no value",
    about:
      "The flag wants a value and the next word is another flag or the end of the line. Write `--flag value` or `--flag=value`; a value that begins with a dash needs the second form.",
  },
  CFG004: {
    exit: 2,
    title: "a required option is missing",
    about:
      "The command cannot choose this value for you. Give it as a flag, as `MMTRT_<NAME>` in the environment, or in the command's section of the file named by `--config`.",
  },
  CFG005: {
    exit: 2,
    title: "unknown key in the configuration file",
    about:
      "The YAML file has a key that no command knows, or a key in the section of a command that does not have it. The keys are the flags' names in snake_case.",
  },
  CFG006: {
    exit: 2,
    title: "the configuration file cannot be read",
    about:
      "The file named by `--config` is missing, too large, not valid YAML, or not a mapping of keys to values. The message points to line and column.",
  },
  CFG007: {
    exit: 2,
    title: "unknown environment variable with the prefix MMTRT_",
    about:
      "Variables with this prefix set options, so one that sets nothing is a misspelling. Correct its name or unset it.",
  },
  CFG008: { exit: 2, title: "unknown command", about: "`mmtrt --help` lists the commands." },
  CFG009: {
    exit: 2,
    title: "a word that belongs to no option",
    about:
      "The command takes fewer words without a flag than were given. Text with spaces needs quotes; a list's words follow its flag.",
  },
  CFG010: {
    exit: 2,
    title: "an option is given twice with different values",
    about: "One of the two would be dropped in silence. Old spellings count as the option they stand for.",
  },
  CFG011: {
    exit: 2,
    title: "words after -- where the command passes nothing on",
    about: "Only commands that run another tool hand the words after `--` to it.",
  },
  CFG012: {
    exit: 2,
    title: "neither an error code nor a log file",
    about: "`mmtrt explain` takes a code of docs/errors, the path of a log file, or - for stdin.",
  },
  CFG013: {
    exit: 2,
    title: "files of the new project are there already",
    about:
      "`mmtrt init` writes mmtrt.yaml, matrix.yaml and a file for CI, and overwrites none of them. A .gitignore that is there stays as it is.",
  },
  CFG014: {
    exit: 2,
    title: "an option of another task",
    about:
      "mmtrt eval has a task in front, perplexity or passkey, and some options are about one of them only. `mmtrt eval --help` groups them.",
  },
} as const satisfies Record<string, CodeInfo>;
