import { fail } from "../diagnostics/index.ts";
import type { Session } from "./session.ts";

export interface Perplexity {
  /** exp of the mean negative log likelihood of a token, given all before it in its text. */
  readonly perplexity: number;
  /** Tokens that were predicted: all but the first of each text. */
  readonly tokens: number;
}

/**
 * How well a model predicts texts: each is fed token by token, `batch` texts side by side, so that every step goes
 * through the cache as in generation. Texts of one token predict nothing and are left out.
 * @throws MmtrtError RUN031 for an encoder-decoder; RUN010 for texts longer than the engine's profiles; NUM001 when logits are not numbers.
 */
export async function perplexityOf(
  session: Session,
  texts: readonly (readonly number[])[],
  batch: number,
  onProgress?: (done: number) => void,
): Promise<Perplexity> {
  if (session.startToken !== undefined) isPair();
  // Texts of like length side by side: a batch takes as many steps as its longest.
  const order = texts.filter(text => text.length > 1).sort((a, b) => b.length - a.length);
  let loss = 0;
  let tokens = 0;
  for (let first = 0; first < order.length; first += batch) {
    let rows = order.slice(first, first + batch);
    const length = rows[0]?.length ?? 0;
    session.check({ batch: rows.length, beams: 1, promptTokens: 1, newTokens: length, tableRows: 0 }, "--texts");
    const decoding = await session.prefill(rows.map(row => row.slice(0, 1)));
    for (let at = 1; at < length; at++) {
      for (const [row, text] of rows.entries()) {
        loss -= logProbability(decoding.logits, row * decoding.vocab, decoding.vocab, text[at] as number);
        tokens += 1;
      }
      const going = rows.flatMap((text, row) => (text.length > at + 1 ? [row] : []));
      if (going.length === 0) break;
      decoding.select(going);
      rows = going.map(row => rows[row] as readonly number[]);
      await decoding.step(rows.map(text => text[at] as number));
    }
    onProgress?.(Math.min(order.length, first + batch));
  }
  if (!Number.isFinite(loss)) notNumbers();
  return { perplexity: Math.exp(loss / Math.max(1, tokens)), tokens };
}

/** log softmax in float64: sums over a vocabulary lose digits in float32. */
function logProbability(logits: Float32Array, start: number, size: number, token: number): number {
  let most = Number.NEGATIVE_INFINITY;
  for (let i = start; i < start + size; i++) most = Math.max(most, logits[i] as number);
  let sum = 0;
  for (let i = start; i < start + size; i++) sum += Math.exp((logits[i] as number) - most);
  return (logits[start + token] as number) - most - Math.log(sum);
}

function isPair(): never {
  return fail({
    code: "RUN031",
    what: "the engine is an encoder-decoder",
    at: "--engine_dir",
    why: "its decoder answers a prompt; it does not continue a text",
    fix: "mmtrt run --check_accuracy FILE, with questions and the answers that count as right",
  });
}

function notNumbers(): never {
  return fail({
    code: "NUM001",
    what: "the model's logits are not numbers",
    at: "logits",
    why: "weights or activations overflow, so that no text has a probability",
    fix: "convert the weights in bfloat16 or float32, and compare with mmtrt verify",
  });
}
