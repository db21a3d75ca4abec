import { defineOptions } from "../define.ts";

export const cacheOptions = defineOptions({
  action: {
    type: "string",
    enum: ["ls", "gc", "verify"],
    required: true,
    positional: true,
    group: "Cache",
    about: "ls lists the results of steps, gc removes the ones used longest ago, verify reads every byte.",
  },
  cache_dir: {
    type: "path",
    default: ".mmtrt/cache",
    group: "Cache",
    placeholder: "DIR",
    about: "The cache of mmtrt matrix.",
  },
  max_size: {
    type: "number",
    minimum: 0,
    maximum: 1 << 30,
    group: "Cache",
    placeholder: "GIB",
    about: "gc: remove results until the cache has at most this size in GiB.",
  },
  max_age: {
    type: "number",
    minimum: 0,
    maximum: 36_500,
    group: "Cache",
    placeholder: "DAYS",
    about: "gc: remove results that were not used for so many days.",
  },
  repair: {
    type: "boolean",
    default: false,
    group: "Cache",
    about: "verify: remove damaged results, which are then made again when they are needed.",
  },
});
