import { expect, test } from 'bun:test'
import { allow, reject, type Verdict } from '#core/verdict.ts'

// The type-check is the test here: each mark below is itself a fault if the line after it compiles.

// @ts-expect-error: one way through it decides nothing.
function forgetful(isFine: boolean): Verdict {
  if (isFine) return allow
}

const undeclared = (isFine: boolean) => (isFine ? allow : undefined)

// @ts-expect-error: who leaves the type out hands the fault on to the next that needs a verdict.
const handedOn: Verdict = undeclared(false)

function ofFew(kind: 'a' | 'b'): Verdict {
  switch (kind) {
    case 'a':
      return allow
    case 'b':
      return reject('b')
  }
}

// @ts-expect-error: a kind is left out.
function ofFewer(kind: 'a' | 'b'): Verdict {
  switch (kind) {
    case 'a':
      return allow
  }
}

test('a branch that forgets to decide does not compile, and could not be taken for a verdict', () => {
  const undecided: unknown[] = [forgetful(false), handedOn, ofFewer('b')]
  expect(undecided).toEqual([undefined, undefined, undefined])
  expect([forgetful(true), ofFew('a'), ofFewer('a')]).toEqual([allow, allow, allow])
  expect(ofFew('b')).toEqual({ allowed: false, reason: 'b' })
})

test('every rule of authorisation says that it gives a verdict', async () => {
  const rules: string[] = []
  for await (const file of new Bun.Glob('src/core/auth/*.ts').scan(`${import.meta.dir}/../..`)) {
    const text = await Bun.file(`${import.meta.dir}/../../${file}`).text()
    for (const [line, name] of text.matchAll(
      /^(?:export )?function (\w+)\([^]*?\)(?:: [^{]+)? \{$/gm,
    )) {
      if (!/^(authorize|check)/.test(name!)) continue
      rules.push(name!)
      expect(line).toMatch(/\): Verdict \{$/)
    }
  }
  expect(rules.length).toBeGreaterThan(12)
})
