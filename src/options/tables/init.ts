import { defineOptions, type Values } from "../define.ts";

export const initOptions = defineOptions({
  dir: {
    type: "path",
    positional: true,
    default: ".",
    group: "Project",
    placeholder: "DIR",
    about: "Where the project goes; made when it is not there. Files that are there are never overwritten.",
  },
  model: {
    type: "string",
    default: "llava-1.5-7b-hf",
    group: "Project",
    placeholder: "NAME",
    about:
      "A published model (mmtrt plan --list), whose recommended limits are written too, org/name on the Hub, or a model directory.",
  },
  ci: {
    type: "string",
    enum: ["github", "gitlab", "none"],
    default: "github",
    group: "Project",
    about: "Where engines are built after a push: .github/workflows/engines.yml or .gitlab-ci.yml.",
  },
});

export type InitOptions = Values<typeof initOptions>;
