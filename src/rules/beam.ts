import type { Rule } from "./rule.ts";

export const beamFitsVocabulary: Rule = ({ spec: { language }, build: { max_beam_width }, origin }) => {
  const most = Math.max(1, Math.floor(language.vocabSize / 2));
  if (max_beam_width <= most) return undefined;
  return {
    code: "BLD050",
    what: `max_beam_width ${max_beam_width} needs ${2 * max_beam_width} candidates and the vocabulary has ${language.vocabSize}`,
    at: origin("max_beam_width"),
    why: "a step of beam search keeps 2 × beam_width different tokens, so that enough remain when some end",
    fix: `--max_beam_width ${most} or less`,
  };
};
