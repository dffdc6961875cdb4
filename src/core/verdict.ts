/**
 * What a protocol rule answers. `undefined` is not a verdict: a branch that forgets to decide does
 * not compile, so a rule can only fail closed.
 */
export type Verdict =
  { readonly allowed: true } | { readonly allowed: false; readonly reason: string }

export const allow: Verdict = { allowed: true }
export const reject = (reason: string): Verdict => ({ allowed: false, reason })
