import type { CodeInfo } from "../code-info.ts";

export const SPC = {
  SPC001: { title: "a required key is missing from config.json", about: "The key has no default that is right for every model of the family, so mmtrt does not guess. Add it with the value the model was trained with." },
  SPC002: { title: "a key of config.json has an unusable value", about: "The value has another type or range than the model's code expects. Correct it, or download the file again if it is damaged." },
  SPC003: { title: "config.json has a key this version does not know", about: "A key nobody reads may change the model's numbers; converting anyway could give a wrong model that looks right. Remove the key if it has no effect on inference, or use a newer mmtrt." },
  SPC004: { title: "a key of config.json has a value this version does not support", about: "The key is known, but the graph for this value is not built. The message lists the supported values." },
} as const satisfies Record<string, CodeInfo>;
