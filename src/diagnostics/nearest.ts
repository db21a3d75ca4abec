/** Edits (insert, delete, replace, swap of neighbours) that turn a into b. */
export function editDistance(a: string, b: string): number {
  const width = b.length + 1;
  const d = new Uint32Array((a.length + 1) * width);
  const at = (i: number, j: number): number => d[i * width + j] as number;
  for (let i = 0; i <= a.length; i++) d[i * width] = i;
  for (let j = 0; j <= b.length; j++) d[j] = j;
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) {
      const replaced = at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let best = Math.min(replaced, at(i - 1, j) + 1, at(i, j - 1) + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) best = Math.min(best, at(i - 2, j - 2) + 1);
      d[i * width + j] = best;
    }
  }
  return at(a.length, b.length);
}

/** No real name is longer; a longer word costs quadratic time and resembles nothing. */
const MAX_NAME = 100;

/** The name the user most likely meant, or nothing when all are far: at most a third of the letters may differ. */
export function nearest(word: string, names: Iterable<string>): string | undefined {
  if (word.length > MAX_NAME) return undefined;
  let best: string | undefined;
  let distance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const name of names) {
    // At least the difference in length: most names need no closer look, which a cold start would feel.
    if (Math.abs(word.length - name.length) >= distance) continue;
    const d = editDistance(word, name);
    if (d < distance && d < name.length) [best, distance] = [name, d];
  }
  return best ?? [...names].find(name => word.length >= 4 && (name.startsWith(word) || name.endsWith(`_${word}`)));
}
