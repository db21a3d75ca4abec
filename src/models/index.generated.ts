// Written by `npm run models` from the files of this folder; a test fails when it is stale.
import type { Architecture } from "./architecture.ts";
import bart from "./bart.ts";
import blip2 from "./blip2.ts";
import gpt2 from "./gpt2.ts";
import gpt2Multimodal from "./gpt2-multimodal.ts";
import idefics3 from "./idefics3.ts";
import llama from "./llama.ts";
import llava from "./llava.ts";
import llavaLlama from "./llava-llama.ts";
import mbart from "./mbart.ts";
import mistral from "./mistral.ts";
import mt5 from "./mt5.ts";
import nougat from "./nougat.ts";
import opt from "./opt.ts";
import qwen2 from "./qwen2.ts";
import t5 from "./t5.ts";

export const ARCHITECTURES: readonly Architecture[] = [bart, blip2, gpt2, gpt2Multimodal, idefics3, llama, llava, llavaLlama, mbart, mistral, mt5, nougat, opt, qwen2, t5];
