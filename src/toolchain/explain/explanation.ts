import type { Code } from "../../diagnostics/index.ts";
import type { GraphTensor, ShapeRange } from "../tensorrt/request.ts";

/** What is known about the engine that a message is about; more of it makes better findings. */
export interface ExplainContext {
  /** As `config.json` of the engine directory has them. */
  readonly profiles?: readonly { readonly name: string; readonly shapes: Readonly<Record<string, ShapeRange>> }[];
  readonly io?: readonly (Pick<GraphTensor, "name"> & { readonly kind?: "input" | "output" })[];
  /** The sizes a request would give to the inputs. */
  readonly shapes?: Readonly<Record<string, readonly number[]>>;
}

/** Named groups of the pattern; a group that did not take part is "". */
export type Captures = Readonly<Record<string, string>>;

/** cause: look here first · effect: printed because of an earlier message · notice: the build goes on. */
export type FindingKind = "cause" | "effect" | "notice";

/** One message of TensorRT, its parser or trtexec that we know. The registry holds its title and its cause. */
export interface Explanation {
  readonly code: Code;
  readonly kind: FindingKind;
  /** Tried on the whole text; [^\n] instead of dots, so that one message cannot swallow the next. */
  readonly pattern: RegExp;
  /** The title with the message's values. */
  readonly what: (captures: Captures, context: ExplainContext) => string;
  readonly fix: (captures: Captures, context: ExplainContext) => string;
}

export interface Finding {
  readonly code: Code;
  readonly kind: FindingKind;
  readonly title: string;
  readonly what: string;
  readonly why: string;
  readonly fix: string;
  /** The line of the text that matched, and its number from 1. */
  readonly message: string;
  readonly line: number;
}
