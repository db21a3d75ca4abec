// Written by `npm run models` from the files of this folder; a test fails when it is stale.
import type { Architecture } from "./architecture.ts";
import bart from "./bart.ts";
import blip2 from "./blip2.ts";
import gemma from "./gemma.ts";
import gemma2 from "./gemma2.ts";
import gemma3 from "./gemma3.ts";
import gemma3Multimodal from "./gemma3-multimodal.ts";
import gpt2 from "./gpt2.ts";
import gpt2Multimodal from "./gpt2-multimodal.ts";
import idefics3 from "./idefics3.ts";
import internlm2 from "./internlm2.ts";
import internvl from "./internvl.ts";
import llama from "./llama.ts";
import llava from "./llava.ts";
import llavaLlama from "./llava-llama.ts";
import mbart from "./mbart.ts";
import mistral from "./mistral.ts";
import mt5 from "./mt5.ts";
import nougat from "./nougat.ts";
import opt from "./opt.ts";
import phi3 from "./phi3.ts";
import qwen2 from "./qwen2.ts";
import qwen3 from "./qwen3.ts";
import smollm3 from "./smollm3.ts";
import t5 from "./t5.ts";

export const ARCHITECTURES: readonly Architecture[] = [bart, blip2, gemma, gemma2, gemma3, gemma3Multimodal, gpt2, gpt2Multimodal, idefics3, internlm2, internvl, llama, llava, llavaLlama, mbart, mistral, mt5, nougat, opt, phi3, qwen2, qwen3, smollm3, t5];
