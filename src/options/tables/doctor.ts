import { defineOptions, type Values } from "../define.ts";

export const doctorOptions = defineOptions({
  python: {
    type: "path",
    group: "Tools",
    placeholder: "FILE",
    about: "The Python whose TensorRT bindings to look for. Without it: the one of VIRTUAL_ENV, or python3 on PATH.",
  },
});

export type DoctorOptions = Values<typeof doctorOptions>;
