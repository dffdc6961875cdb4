import { describe, expect, test } from 'bun:test'
import { canonicalJson, parseJson, requireCanonicalJson } from '#core/canonical-json.ts'
import { isObject, isRawNumber, type Json, type JsonObject, numberOf } from '#core/json.ts'
import { Random, randomJson, randomObject } from './random.ts'

const strict = (text: string) => canonicalJson(parseJson(text)!)
const tolerant = (text: string) => canonicalJson(parseJson(text)!, 'tolerant')

test.each([
  ['{}', '{}'],
  ['{"one": 1, "two": "Two"}', '{"one":1,"two":"Two"}'],
  ['{"b": "2", "a": "1"}', '{"a":"1","b":"2"}'],
  ['{"b":"2","a":"1"}', '{"a":"1","b":"2"}'],
  [
    '{"auth":{"success":true,"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"medium":"email","address":"john.doe@example.org"},{"medium":"msisdn","address":"123456789"}]}}}',
    '{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},"success":true}}',
  ],
  ['{"a": "日本語"}', '{"a":"日本語"}'],
  ['{"本": 2, "日": 1}', '{"日":1,"本":2}'],
  ['{"a": "\\u65E5"}', '{"a":"日"}'],
  ['{"a": null}', '{"a":null}'],
])('the example of the spec %s', (text, canonical) => {
  expect(strict(text)).toBe(canonical)
})

test('the example of the spec with -0 and an exponent, as JavaScript reads it', () => {
  expect(canonicalJson({ a: -0, b: 1e10 })).toBe('{"a":0,"b":10000000000}')
})

test('keys are sorted by code point, not by UTF-16 unit', () => {
  const keys = ['\u{1f600}', '\uffff', '\ue000', '\ud7ff', 'a\u{10000}', 'a\uffff', '']
  const object = Object.fromEntries(keys.map((key, index) => [key, index]))
  expect(canonicalJson(object)).toBe(
    '{"":6,"a\uffff":5,"a\u{10000}":4,"\ud7ff":3,"\ue000":2,"\uffff":1,"\u{1f600}":0}',
  )
  // In UTF-16 order already, so that only the last look can notice.
  expect(canonicalJson({ '\u{1f600}': 1, '\ue000': 2 })).toBe('{"\ue000":2,"\u{1f600}":1}')
})

test('keys like integers are sorted as texts', () => {
  expect(canonicalJson({ 10: 1, 9: 2, 1: 3, '01': 4, '-1': 5 })).toBe(
    '{"-1":5,"01":4,"1":3,"10":1,"9":2}',
  )
})

test('__proto__ is a key like any other', () => {
  const text = '{"z":1,"__proto__":{"b":{},"__proto__":null,"a":1}}'
  expect(strict(text)).toBe('{"__proto__":{"__proto__":null,"a":1,"b":{}},"z":1}')
  expect(strict('{"__proto__":{"a":1},"b":2}')).toBe('{"__proto__":{"a":1},"b":2}')
  expect(({} as JsonObject)['a']).toBeUndefined()
})

test('only what must be escaped is', () => {
  expect(canonicalJson('\0\x1f\b\t\n\f\r"\\/\x7f\u2028\u2029é<>&')).toBe(
    '"\\u0000\\u001f\\b\\t\\n\\f\\r\\"\\\\/\x7f\u2028\u2029é<>&"',
  )
})

describe('numbers', () => {
  test('the bounds of integers are exact', () => {
    expect(strict('[9007199254740991,-9007199254740991]')).toBe(
      '[9007199254740991,-9007199254740991]',
    )
    expect(strict('9007199254740992')).toBeUndefined()
    expect(strict('-9007199254740992')).toBeUndefined()
  })

  test.each(['1.5', '1.0', '1e3', '1E3', '10e-1', '-0.0', '0e0', '123456789012345678901', '1e400'])(
    '%s is refused where canonical JSON is enforced, and kept byte for byte before',
    (number) => {
      for (const text of [number, `[${number}]`, `{"a":{"b":${number}}}`]) {
        expect(strict(text)).toBeUndefined()
        expect(tolerant(text)).toBe(text)
        expect(JSON.stringify(parseJson(text))).toBe(text)
      }
    },
  )

  test('-0 is 0', () => {
    expect(strict('[-0,1]')).toBe('[0,1]')
    expect(strict('{"a":-0,"b":"1.5"}')).toBe('{"a":0,"b":"1.5"}')
  })

  test('floats of our own are written as Python writes them', () => {
    expect(canonicalJson([0.5, 0.0001, 0.00001, -1.5e-7, 1e-10, 1e22], 'tolerant')).toBe(
      '[0.5,0.0001,1e-05,-1.5e-07,1e-10,10000000000000000000000]',
    )
    expect(canonicalJson([NaN], 'tolerant')).toBeUndefined()
    expect(canonicalJson([Infinity], 'tolerant')).toBeUndefined()
  })

  test('a number kept raw is no object, and has a value', () => {
    const { a } = parseJson('{"a":1.50}') as { a: Json }
    expect(isRawNumber(a)).toBe(true)
    expect(isObject(a)).toBe(false)
    expect(numberOf(a)).toBe(1.5)
    expect(numberOf(7)).toBe(7)
    expect(numberOf('7')).toBeUndefined()
    expect(numberOf({ rawJSON: '7' })).toBeUndefined()
  })

  test('an object that looks like a raw number is an object', () => {
    const value = parseJson('{"rawJSON":"7","x":1.5}')!
    expect(isObject(value)).toBe(true)
    expect(canonicalJson(value, 'tolerant')).toBe('{"rawJSON":"7","x":1.5}')
  })

  test('digits inside texts do not matter', () => {
    const text = '{"a":"x: 1.5, 12345678901234567890 [2e5","b":[12,"1.0"]}'
    expect(strict(text)).toBe(text)
  })
})

describe('numbers that keep their digits, beside strings that look like some', () => {
  const strings = [
    '1.5,',
    '\\',
    '\\\\',
    '"',
    '\\"',
    ' 1.5}',
    ':127.0.0.1:8448',
    '[2e5]',
    '',
    'é 1.5 ]',
    '\\" 3.5,',
  ]
  const numbers = ['1.50', '1E3', '-0.0', '12345678901234567', '1e-7']
  const spaces = ['', ' ', '\n', '\t\r\n  ']

  test.each(numbers)('%s is seen among them', (number) => {
    for (const [index, string] of strings.entries()) {
      const other = strings[(index * 7 + 3) % strings.length]!
      const space = spaces[index % spaces.length]!
      const text = `{${JSON.stringify(string)}:[${JSON.stringify(other)},${space}${number}${space}],"z":1}`
      const kept = parseJson(text) as Record<string, Json[]>
      expect(isRawNumber(kept[string]![1]!)).toBe(true)
      expect(JSON.stringify(kept)).toContain(number)
      expect(kept[string]![0]).toBe(other)
    }
  })

  test('none is seen where there is none', () => {
    const text = `[${strings.map((string) => JSON.stringify(string)).join(', ')},7]`
    expect(parseJson(text)).toEqual([...strings, 7])
  })

  test('texts made to be gone through again and again are gone through once', () => {
    for (const piece of ['1', '1.', ' 1.5', '\\"', '1.5 ', ',1'])
      expect(parseJson(JSON.stringify([piece.repeat(200_000), 1.5]))).toBeDefined()
    expect(parseJson('[1.5' + ' '.repeat(200_000) + 'x')).toBeUndefined()
    expect(parseJson('"'.repeat(200_001))).toBeUndefined()
  })
})

describe('hostile texts', () => {
  test.each(['', '{', '[1,]', '{"a":}', '01', '1.', '+1', 'NaN', "{'a':1}", '[1.5,]', '\ufeff{}'])(
    '%p is no JSON',
    (text) => expect(parseJson(text)).toBeUndefined(),
  )

  test('of keys that come twice the last counts, however numbers are kept', () => {
    expect(strict('{"a":1,"a":2}')).toBe('{"a":2}')
    expect(tolerant('{"a":1.5,"a":2,"b":2.50}')).toBe('{"a":2,"b":2.50}')
    expect(tolerant('{"a":2,"a":1.50}')).toBe('{"a":1.50}')
  })

  test('nesting has a bound and never blows the stack', () => {
    const nested = (levels: number) => '['.repeat(levels) + ']'.repeat(levels)
    expect(strict(nested(1000))).toBe(nested(1000))
    expect(strict(nested(1001))).toBeUndefined()
    expect(canonicalJson(JSON.parse(nested(100_000)))).toBeUndefined()
    const objects = '{"a":'.repeat(100_000) + '1.5' + '}'.repeat(100_000)
    expect(() => parseJson(objects)).not.toThrow()
    expect(() => requireCanonicalJson([0.5])).toThrow(TypeError)
  })

  test('a lone surrogate has no UTF-8: refused where enforced, escaped before', () => {
    for (const text of ['"\\ud800"', '["a\\udc00"]', '{"\\ud800":1}']) {
      expect(strict(text)).toBeUndefined()
      expect(tolerant(text)).toBe(text)
    }
    // These only look like one.
    expect(strict('"\\\\ud800"')).toBe('"\\\\ud800"')
    expect(strict('"\\ud83d\\ude00"')).toBe('"\u{1f600}"')
  })
})

/** The text of the spec, as plainly as it can be written. */
function reference(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(reference).join(',')}]`
  if (typeof value !== 'object' || value === null)
    return Object.is(value, -0) ? '0' : JSON.stringify(value)
  const points = (key: string) => Array.from(key, (character) => character.codePointAt(0)!)
  const keys = Object.keys(value).sort((a, b) => {
    const [left, right] = [points(a), points(b)]
    const at = left.findIndex((point, index) => point !== right[index])
    if (at < 0) return left.length - right.length
    return right[at] === undefined ? 1 : left[at]! - right[at]
  })
  return `{${keys.map((key) => `${JSON.stringify(key)}:${reference(value[key]!)}`).join(',')}}`
}

test('the fast path and the slow path give the same bytes', () => {
  for (let seed = 0; seed < 10_000; seed++) {
    const random = new Random(seed)
    const value = randomJson(random)
    const text = canonicalJson(value)
    expect({ seed, text }).toEqual({ seed, text: reference(value) })
    expect(canonicalJson(value, 'tolerant')).toBe(text!)
    // What is canonical already stays what it is, read either way.
    expect(strict(text!)).toBe(text)
    expect(canonicalJson(JSON.parse(text!))).toBe(text)
  }
})

test('floats anywhere in a random value keep their digits through parsing and writing', () => {
  for (let seed = 0; seed < 2_000; seed++) {
    const random = new Random(seed)
    const value = randomObject(random, 3, 4)
    // A text that no random text holds, so that it can be replaced by digits.
    const digits = random.pick(['1.50', '-0.0', '1E400', '12345678901234567890', '0.1e-7'])
    const holed = canonicalJson({ ...value, 'hole!': ['hole!'] })!
    const text = holed.replace('["hole!"]', `[${digits}]`)
    expect({ seed, text: tolerant(text) }).toEqual({ seed, text })
    expect(strict(text)).toBeUndefined()
  }
})
