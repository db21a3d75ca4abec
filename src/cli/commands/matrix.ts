import { matrixOptions } from "../../options/tables/matrix.ts";
import { defineCommand } from "../command.ts";
import { matrixCommand } from "../matrix/command.ts";

export const matrix = defineCommand({ name: "matrix", options: matrixOptions, run: matrixCommand });
