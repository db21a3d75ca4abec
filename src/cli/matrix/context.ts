import type { matrixOptions } from "../../options/tables/matrix.ts";
import type { CommandContext } from "../command.ts";

export type MatrixCommand = CommandContext<typeof matrixOptions>;
