/** The scaling of config.json as far as angles depend on it; numbers under their Hugging Face names. */
export interface ScalingRule {
  readonly type: "linear" | "dynamic" | "llama3" | "yarn" | "longrope";
  readonly factor: number;
  readonly parameters: Readonly<Record<string, unknown>>;
}

/** What turns a position into angles. */
export interface RopeFrequencies {
  /** Radians a position, float32 [head_dim / 2]. */
  readonly frequencies: Float32Array;
  /** Known only at run time: the frequencies of a step that reaches further than the model was first trained. */
  readonly beyond?: DynamicScaling | SwitchedFrequencies;
  /** cos and sin are multiplied by it, so scores by its square: YaRN's temperature, LongRoPE's too. */
  readonly attentionFactor: number;
}

/** Dynamic NTK scaling: nothing up to `trained` positions, then a base that grows with the sequence. */
export interface DynamicScaling {
  readonly kind: "dynamic";
  readonly factor: number;
  readonly trained: number;
}

/** LongRoPE: other frequencies as soon as a step's last position is past the first `trained`. */
export interface SwitchedFrequencies {
  readonly kind: "switched";
  readonly trained: number;
  readonly frequencies: Float32Array;
}

const f = Math.fround;

/**
 * Frequencies theta^(−2i/d), i < d/2, with Hugging Face's scaling applied; float32 steps as PyTorch takes them.
 * Sources: RoFormer (2104.09864); linear: positions divided by `factor`; llama3: Llama 3.1's smooth low/high split; yarn:
 * 2309.00071; longrope: 2402.13753. `maxPositions` is max_position_embeddings, which dynamic scaling starts from.
 */
export function ropeFrequencies(
  headDim: number,
  theta: number,
  maxPositions: number,
  scaling?: ScalingRule,
): RopeFrequencies {
  const periods = Float32Array.from({ length: headDim / 2 }, (_, i) => f(f(theta) ** f((2 * i) / headDim)));
  const plain = periods.map(period => 1 / period);
  if (scaling === undefined) return { frequencies: plain, attentionFactor: 1 };
  const { type, factor, parameters } = scaling;
  const only = (frequencies: Float32Array): RopeFrequencies => ({ frequencies, attentionFactor: 1 });
  switch (type) {
    case "linear":
      return only(plain.map(x => x / factor));
    case "llama3":
      return only(plain.map(x => llama3Frequency(x, factor, parameters)));
    case "dynamic":
      return { ...only(plain), beyond: { kind: "dynamic", factor, trained: maxPositions } };
    case "yarn":
      return { frequencies: yarnFrequencies(periods, headDim, theta, scaling), attentionFactor: yarnFactor(scaling) };
    case "longrope":
      return longrope(periods, scaling);
  }
}

/** Wavelengths beyond the trained context are divided by `factor`, short ones kept, a linear blend between. */
function llama3Frequency(frequency: number, factor: number, parameters: ScalingRule["parameters"]): number {
  const original = parameters.original_max_position_embeddings as number;
  const low = parameters.low_freq_factor as number;
  const high = parameters.high_freq_factor as number;
  const wavelength = (2 * Math.PI) / frequency;
  if (wavelength > original / low) return frequency / factor;
  if (wavelength < original / high) return frequency;
  const smooth = (original / wavelength - low) / (high - low);
  return ((1 - smooth) * frequency) / factor + smooth * frequency;
}

/**
 * Channel pairs that turn more than `beta_fast` times within the first trained length keep their frequency, those that turn
 * less than `beta_slow` times are divided by `factor`, a linear ramp over the pairs between.
 */
function yarnFrequencies(
  periods: Float32Array,
  headDim: number,
  theta: number,
  { factor, parameters }: ScalingRule,
): Float32Array {
  const original = parameters.original_max_position_embeddings as number;
  // Where a pair turns so many times; the inverse of original · theta^(−2i/d) / 2π.
  const pairOf = (turns: number): number =>
    (headDim * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const [first, last] = [pairOf((parameters.beta_fast as number) ?? 32), pairOf((parameters.beta_slow as number) ?? 1)];
  const whole = parameters.truncate !== false;
  const low = Math.max(whole ? Math.floor(first) : first, 0);
  const most = Math.min(whole ? Math.ceil(last) : last, headDim - 1);
  // transformers' way round a ramp of no length.
  const high = most === low ? most + 0.001 : most;
  return periods.map((period, i) => {
    const divided = f(Math.min(1, Math.max(0, f(f(i - low) / f(high - low)))));
    const kept = f(1 - divided);
    return f(f(1 / f(factor * period)) * f(1 - kept)) + f(f(1 / period) * kept);
  });
}

/** 0.1 · mscale · ln(factor) + 1, or the quotient of two such where both scales are given (DeepSeek). */
function yarnFactor({ factor, parameters: { attention_factor, mscale, mscale_all_dim } }: ScalingRule): number {
  if (attention_factor !== undefined) return attention_factor as number;
  const scaleOf = (scale: number): number => (factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1);
  if (mscale === undefined || mscale_all_dim === undefined) return scaleOf(1);
  return scaleOf(mscale as number) / scaleOf(mscale_all_dim as number);
}

/** Every pair has a divisor of its own, found by search: one list up to the first trained length, one beyond. */
function longrope(periods: Float32Array, { factor, parameters }: ScalingRule): RopeFrequencies {
  const trained = parameters.original_max_position_embeddings as number;
  const divided = (divisors: unknown): Float32Array =>
    periods.map((period, i) => 1 / f(f((divisors as readonly number[])[i] as number) * period));
  const usual = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(trained));
  return {
    frequencies: divided(parameters.short_factor),
    beyond: { kind: "switched", trained, frequencies: divided(parameters.long_factor) },
    attentionFactor: (parameters.attention_factor as number | undefined) ?? usual,
  };
}
