import { describeLimits, describeMisfits } from "../tensorrt/profile-fit.ts";
import type { Explanation } from "./explanation.ts";

const list = (text: string): readonly number[] => text.split(",").map(Number);

export const PROFILE_MESSAGES: readonly Explanation[] = [
  {
    code: "TRT101",
    kind: "cause",
    pattern:
      /Set dimensions? \[(?<set>[-\d,]*)\] for tensor (?<tensor>[^\n]{1,300}?) does not satisfy any optimization profiles?\.?(?:\s+Valid range for profile \d+: \[(?<low>[\d,]*)\]\.\.\[(?<high>[\d,]*)\])?/,
    what: ({ tensor, set, low, high }) =>
      `${tensor} was given [${set}]${low === "" ? "" : `; the engine takes [${low}] to [${high}]`}`,
    fix: ({ tensor = "", set = "", low = "", high = "" }, { profiles }) => {
      const stored = profiles ?? (low === "" ? [] : [{ name: "0", shapes: { [tensor]: rangeOf(low, high) } }]);
      return (
        describeMisfits({ [tensor]: list(set) }, stored) ??
        `give ${tensor} a size inside the range, or build with higher limits`
      );
    },
  },
  {
    code: "TRT101",
    kind: "cause",
    pattern: /satisfyProfile Runtime dimension does not satisfy any optimization profile/,
    what: (_, { shapes }) =>
      shapes === undefined
        ? "an input was given a size outside every profile; this version of TensorRT does not say which"
        : "an input was given a size outside every profile",
    fix: (_, { profiles, shapes }) => {
      if (profiles === undefined)
        return "mmtrt inspect shows the engine's ranges; give the log together with the engine directory to have them compared";
      if (shapes !== undefined)
        return (
          describeMisfits(shapes, profiles) ??
          "the given sizes fit a profile: select that profile before setting shapes"
        );
      return `the engine takes at most ${describeLimits(profiles)}`;
    },
  },
  {
    code: "TRT102",
    kind: "cause",
    pattern:
      /Static dimension mismatch while setting input shape(?: for (?<tensor>[^\n.]{1,300})\. Set dimensions are \[(?<set>[-\d,]*)\]\. Expected dimensions are \[(?<expected>[-\d,]*)\])?/,
    what: ({ tensor, set, expected }) =>
      tensor === ""
        ? "an input differs from the graph in a fixed dimension"
        : `${tensor} was given [${set}]; the graph fixes [${expected}] (−1 may vary)`,
    fix: ({ tensor, expected }) =>
      tensor === ""
        ? "compare the input shapes with mmtrt inspect"
        : `give ${tensor} a shape that matches [${expected}]`,
  },
  {
    code: "TRT103",
    kind: "cause",
    pattern:
      /kOPT values for profile (?<profile>\d+) violate shape constraints: (?<node>[^\n]{1,300}?): (?<said>[^\n]{1,300}?)(?: In [^\n]*)?$/m,
    what: ({ profile, node, said }) => `profile ${profile} does not work at its opt sizes: at ${node}, ${said}`,
    fix: ({ profile, said }) =>
      said?.includes("volume exceeds")
        ? "shorter or fewer prompts in one step: --use_paged_context_fmha --max_num_tokens 8192, or a lower --max_input_len"
        : `make the opt sizes of profile ${profile} agree, e.g. attention_mask = past + sequence length`,
  },
  {
    code: "TRT104",
    kind: "notice",
    pattern:
      /Profile (?<end>kMIN|kMAX) values are not self-consistent\. (?<node>[^\n:]{1,300}): (?<said>[^\n]{1,300}?)(?: In [^\n]*)?$/m,
    what: ({ end, node, said }) =>
      `the ${end === "kMIN" ? "min" : "max"} sizes do not go together: at ${node}, ${said}`,
    fix: ({ end }) => `correct the ${end === "kMIN" ? "min" : "max"} sizes; requests between them run`,
  },
  {
    code: "TRT105",
    kind: "cause",
    pattern: /Dynamic input tensor (?<tensor>[^\n]{1,300}?) is missing dimensions in profile (?<profile>\d+)/,
    what: ({ tensor, profile }) => `profile ${profile} has no range for ${tensor}`,
    fix: ({ tensor, profile }) => `add min, opt and max of ${tensor} to profile ${profile}`,
  },
  {
    code: "TRT107",
    kind: "cause",
    pattern: /Invalid optimization profiles for input tensors (?<tensor>[^\n]{1,300}?), please ensure/,
    what: ({ tensor }) => `the range of ${tensor} is not min ≤ opt ≤ max`,
    fix: ({ tensor }) => `order min, opt and max of ${tensor}`,
  },
  {
    code: "TRT108",
    kind: "cause",
    pattern:
      /Dimension mismatch for tensor (?<tensor>[^\n]{1,300}?) and profile (?<profile>\d+)\. At dimension axis (?<axis>\d+), profile has min=(?<min>\d+), opt=(?<opt>\d+), max=(?<max>\d+) but tensor has (?<size>\d+)/,
    what: ({ tensor, axis, size, min, opt, max }) =>
      `${tensor} axis ${axis} is fixed at ${size}; the profile says ${min}…${opt}…${max}`,
    fix: ({ tensor, axis, size, profile }) =>
      `give ${tensor} axis ${axis} ${size} at min, opt and max of profile ${profile}`,
  },
  {
    code: "TRT109",
    kind: "cause",
    pattern:
      /Dynamic-shaped input tensor (?<tensor>[^\n]{1,300}?) has (?<rank>\d+) dimensions but profile (?<profile>\d+) has (?<given>\d+)/,
    what: ({ tensor, rank, profile, given }) => `${tensor} has ${rank} dimensions, profile ${profile} gives ${given}`,
    fix: ({ tensor, rank }) => `give ${tensor} ${rank} sizes at min, opt and max`,
  },
  {
    code: "TRT106",
    kind: "cause",
    pattern: /Network has dynamic or shape inputs, but no optimization profile has been defined/,
    what: () => "no usable optimization profile was given",
    fix: () =>
      "give min, opt and max of every dynamic input; if a profile was given, an earlier message says why it was refused",
  },
  {
    code: "TRT110",
    kind: "cause",
    pattern: /Cannot find input tensor with name "(?<tensor>[^\n"]{1,300})" in the network/,
    what: ({ tensor }) => `the graph has no input ${tensor}`,
    fix: (_, { io }) =>
      io === undefined
        ? "mmtrt inspect lists the graph's inputs"
        : `the inputs are ${io
            .filter(t => t.kind !== "output")
            .map(t => t.name)
            .join(", ")}`,
  },
  {
    code: "TRT111",
    kind: "notice",
    pattern:
      /Dynamic dimensions required for input: (?<tensor>[^\n]{1,300}?), but no shapes were provided\. Automatically overriding shape to: (?<shape>[\dx]+)/,
    what: ({ tensor, shape }) => `no shapes were given for ${tensor}, so the engine takes ${shape} alone`,
    fix: ({ tensor }) => `add ${tensor} to --minShapes, --optShapes and --maxShapes`,
  },
  {
    code: "TRT112",
    kind: "cause",
    pattern:
      /Found invalid or missing shape spec at profile index (?<profile>\d+)|Multiple --minShapes\/--optShapes\/--maxShapes without --profile|Optimization profile index cannot be the same/,
    what: ({ profile }) =>
      profile === "" ? "shape lists are given more than once" : `profile ${profile} lacks shapes`,
    fix: () => "write --profile=N before each profile's --minShapes, --optShapes and --maxShapes",
  },
  {
    code: "TRT113",
    kind: "cause",
    pattern: /Static model does not take explicit shapes/,
    what: () => "the graph has no dynamic input, and shapes were given",
    fix: () => "leave out --minShapes, --optShapes and --maxShapes",
  },
];

function rangeOf(
  low: string,
  high: string,
): { min: readonly number[]; opt: readonly number[]; max: readonly number[] } {
  return { min: list(low), opt: list(low), max: list(high) };
}
