/** Names that an expression uses, and the same in C++; undefined when it is not of the form. */
export interface Expression {
  readonly names: readonly string[];
  readonly cpp: string;
}

const TOKEN = /\s*(?:([A-Za-z_]\w*)|(\d{1,12})|(==|!=|<=|>=|[-+*/%<>]))/y;
const COMPARISON = /^(?:==|!=|<=|>=|<|>)$/;

/** A comparison of sums and products of names and integers: `K == G * group_size`, `N % 32 == 0`. */
export function parseRequirement(text: string): Expression | undefined {
  const tokens = tokenize(text);
  const at = tokens?.findIndex(token => COMPARISON.test(token)) ?? -1;
  if (tokens === undefined || at < 0) return undefined;
  const left = parseSum(tokens.slice(0, at));
  const right = parseSum(tokens.slice(at + 1));
  if (left === undefined || right === undefined) return undefined;
  return { names: [...left.names, ...right.names], cpp: `${left.cpp} ${tokens[at]} ${right.cpp}` };
}

/** A size: a name, an integer, or two of them joined. Sizes of inputs begin with a capital letter, attributes with a small one. */
export interface SizeTerm {
  readonly op: "" | "+" | "-" | "*" | "/";
  readonly terms: readonly (string | number)[];
}

export function parseSize(text: string | number): SizeTerm | undefined {
  const tokens = tokenize(String(text));
  if (tokens === undefined || (tokens.length !== 1 && tokens.length !== 3)) return undefined;
  const [a, op = "", b] = tokens;
  if (!["", "+", "-", "*", "/"].includes(op)) return undefined;
  const terms = [a, b].flatMap(token => (token === undefined ? [] : [isInteger(token) ? Number(token) : token]));
  return terms.every(term => typeof term === "number" || /^[A-Za-z]\w*$/.test(term))
    ? { op: op as SizeTerm["op"], terms }
    : undefined;
}

function tokenize(text: string): readonly string[] | undefined {
  const tokens: string[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.trimEnd().length) {
    const match = TOKEN.exec(text);
    if (match === null) return undefined;
    tokens.push((match[1] ?? match[2] ?? match[3]) as string);
  }
  return tokens;
}

const isInteger = (token: string): boolean => /^\d+$/.test(token);

/**
 * Terms of products, added. Division and remainder become functions that answer for a divisor of 0: sizes come from graphs,
 * and a division by zero would end the process.
 */
function parseSum(tokens: readonly string[]): Expression | undefined {
  if (tokens.length % 2 === 0) return undefined;
  const names: string[] = [];
  let sum = "";
  let product = "";
  for (const [index, token] of tokens.entries()) {
    if (index % 2 === 1) {
      if (!/^[-+*/%]$/.test(token)) return undefined;
      continue;
    }
    if (!isInteger(token) && !/^[A-Za-z_]\w*$/.test(token)) return undefined;
    if (!isInteger(token)) names.push(token);
    const value = isInteger(token) ? `INT64_C(${token})` : token;
    const op = tokens[index - 1];
    if (op === "*") product = `${product} * ${value}`;
    else if (op === "/") product = `quotient(${product}, ${value})`;
    else if (op === "%") product = `remainder(${product}, ${value})`;
    else {
      sum += op === undefined ? "" : `${product} ${op} `;
      product = value;
    }
  }
  return { names, cpp: sum + product };
}
