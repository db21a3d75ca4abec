import { defineOptions, type Values } from "../define.ts";

export const doctorOptions = defineOptions({
  trtexec: {
    type: "path",
    group: "Tools",
    placeholder: "FILE",
    about: "The trtexec to look at. Without it: the one on PATH.",
  },
  python: {
    type: "path",
    group: "Tools",
    placeholder: "FILE",
    about: "The Python whose TensorRT bindings to look for. Without it: python3 on PATH.",
  },
});

export type DoctorOptions = Values<typeof doctorOptions>;
