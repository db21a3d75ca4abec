import type { CodeInfo } from "./code-info.ts";
import { BLD } from "./codes/bld.ts";
import { CFG } from "./codes/cfg.ts";
import { CKP } from "./codes/ckp.ts";
import { ENV } from "./codes/env.ts";
import { GRF } from "./codes/grf.ts";
import { HUB } from "./codes/hub.ts";
import { LRA } from "./codes/lra.ts";
import { MTX } from "./codes/mtx.ts";
import { NUM } from "./codes/num.ts";
import { PLG } from "./codes/plg.ts";
import { RUN } from "./codes/run.ts";
import { SPC } from "./codes/spc.ts";
import { TRT } from "./codes/trt.ts";

/** Areas: CFG options, CKP checkpoint files, SPC model spec, GRF graph, HUB downloads, LRA adapters, BLD build rules, MTX matrix and cache, RUN requests, PLG plugins, TRT tool output, ENV machine, NUM numerics. */
export const CODES = {
  ...BLD,
  ...CFG,
  ...CKP,
  ...ENV,
  ...GRF,
  ...HUB,
  ...LRA,
  ...MTX,
  ...NUM,
  ...PLG,
  ...RUN,
  ...SPC,
  ...TRT,
} as const;

export type Code = keyof typeof CODES;

export function exitCodeOf(code: Code): number {
  return (CODES[code] as CodeInfo).exit ?? 1;
}
