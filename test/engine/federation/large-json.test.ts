import { expect, test } from 'bun:test'
import { parseJson } from '#core/canonical-json.ts'
import { isObject, type JsonObject } from '#core/json.ts'
import { parseLarge } from '#engine/federation/large-json.ts'

const good = [
  '{}',
  ' { } ',
  '{"a":1,"b":[],"c":[1,2,{"d":[3]}]}',
  '{"a" : [ "x" , "]" , "\\"" , "\\\\" , { "}" : "{" } ] , "b":null}',
  '\n{"a":[true,false,null,-1,0.5,1e3,12345678901234567890]\t,\r"s":"\\u0000é😀"}\n',
  '{"a":[1],"a":[2]}',
  '{"__proto__":[1],"constructor":{"__proto__":2}}',
  '{"a":[[[[]]],{}]}',
  '{"":[""]}',
]

test.each(good)('%s is parsed as it is at once', async (text) => {
  const parsed = await parseLarge(text)
  expect(parsed).toEqual(parseJson(text) as JsonObject)
  expect(JSON.stringify(parsed)).toBe(JSON.stringify(parseJson(text)))
})

const bad = [
  '',
  '[]',
  'null',
  '"a"',
  '{',
  '{"a"',
  '{"a":',
  '{"a":}',
  '{"a":[',
  '{"a":[1',
  '{"a":[1,',
  '{"a":[1,]}',
  '{"a":[,1]}',
  '{"a":[1 2]}',
  '{"a":[1]]}',
  '{"a":[1}]',
  '{"a":1,}',
  '{"a":1 "b":2}',
  '{a:1}',
  '{1:1}',
  '{"a":"x}',
  '{"a":["x\\"]}',
  '{"a":[{"b":1]}',
  '{"a":[nul]}',
  '{"a":[{"b" 1}]}',
  '{}{}',
  '{} x',
  '{"a":[1]} ,',
]

test.each(bad)('%s is no object', async (text) => {
  expect(isObject(parseJson(text))).toBe(false)
  expect(await parseLarge(text)).toBeUndefined()
})

test('whatever is cut off is no object', async () => {
  const text = good[3]!.trim()
  for (let end = 0; end < text.length; end++)
    expect(await parseLarge(text.slice(0, end))).toBeUndefined()
})

test('others have turns in between', async () => {
  const item = { type: 'm.room.member', content: { displayname: 'x'.repeat(500) } }
  const text = JSON.stringify({ state: Array(60_000).fill(item) })
  let turns = 0
  const count = () => {
    turns++
    immediate = setImmediate(count)
  }
  let immediate = setImmediate(count)
  const parsed = await parseLarge(text)
  clearImmediate(immediate)
  expect(parsed!['state']).toHaveLength(60_000)
  expect(turns).toBeGreaterThan(2)
})
