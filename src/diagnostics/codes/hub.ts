import type { CodeInfo } from "../code-info.ts";

export const HUB = {
  HUB001: {
    title: "the Hub has no such model or revision",
    about:
      "A model that is no directory or file on this machine is looked for on the Hugging Face Hub as org/name. The Hub says of a private model, too, that it does not exist, as long as no token of somebody who may see it is given.",
  },
  HUB002: {
    exit: 3,
    title: "the Hub does not let this account download the model",
    about:
      "Gated models are for accounts that accepted their terms on the model's page. The token is taken from HF_TOKEN, HUGGING_FACE_HUB_TOKEN, or the file that `hf auth login` writes (HF_TOKEN_PATH, token under HF_HOME).",
  },
  HUB003: {
    exit: 3,
    title: "the Hub cannot be reached",
    about:
      "There is no network, a proxy is in between, or the Hub has a problem. A download is continued by the next run from where it broke off. A model that is whole in the cache is used with a warning. HF_ENDPOINT names a mirror.",
  },
  HUB004: {
    title: "a downloaded file is damaged",
    about:
      "Every file is compared with the size and hash that the Hub gives for it: SHA-256 for weights, git's SHA-1 for small files. A file that differs twice in a row is thrown away.",
  },
  HUB005: {
    exit: 3,
    title: "the model is not in the cache",
    about:
      "With HF_HUB_OFFLINE, or without a network, the files must be in the Hub's cache: HF_HUB_CACHE, or hub under HF_HOME, by default ~/.cache/huggingface/hub. It is the cache of Hugging Face's Python packages, in the same layout.",
  },
  HUB006: {
    exit: 3,
    title: "the disk is too small for the download",
    about:
      "The sizes of all files are known before the first one is fetched. HF_HOME moves the cache to another disk; conversion needs room for the checkpoint beside it.",
  },
  HUB007: {
    title: "the Hub's answer cannot be used",
    about:
      "The server named by HF_ENDPOINT answers in a way that the Hub does not: no list of files, names that lead out of the cache, sizes that do not hold. Nothing is kept of it.",
  },
  HUB008: {
    exit: 2,
    title: "a model or revision is named in a way that cannot be meant",
    about:
      "Models of the Hub are org/name or org/name@revision; hf://name is for old repositories without an organisation, and says that no directory is meant. --revision is for the model itself and for nothing that lies on disk.",
  },
  HUB009: {
    title: "the model has pickles only",
    about:
      "A warning. Where a repository has safetensors, mmtrt downloads no pickle. Where it has none, mmtrt reads the tensors of the pickle without executing it; tools that execute it trust whoever wrote it.",
  },
} as const satisfies Record<string, CodeInfo>;
