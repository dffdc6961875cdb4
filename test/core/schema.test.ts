import { expect, test } from 'bun:test'
import { Type as t } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { record } from '#core/schema.ts'

test.each(['', 'a', 'a\nb', '\r', '\u2028', '\0', '\ud800', '__proto__'])(
  'what an object holds at %j is checked',
  (key) => {
    const schema = record(t.Integer())
    expect(Value.Check(schema, JSON.parse(`{${JSON.stringify(key)}:1}`))).toBe(true)
    expect(Value.Check(schema, JSON.parse(`{${JSON.stringify(key)}:"1"}`))).toBe(false)
  },
)
