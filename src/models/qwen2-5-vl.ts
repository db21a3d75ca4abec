import { defineArchitecture } from "./architecture.ts";
import { readQwen25Tower } from "./parts/packed-vit-spec.ts";
import { qwenVl } from "./parts/qwen-vl.ts";
import { QWEN2_VL_TEXT } from "./qwen2-vl.ts";

/** Everything mmtrt knows about Qwen2.5-VL: Qwen2-VL whose encoder has RMS norms, a gated MLP and windows in most layers. */
export default defineArchitecture(
  qwenVl({
    architecture: "Qwen2_5_VLForConditionalGeneration",
    modelType: "qwen2_5_vl",
    language: QWEN2_VL_TEXT,
    readTower: readQwen25Tower,
    pixels: [56 * 56, 28 * 28 * 1280],
  }),
);
