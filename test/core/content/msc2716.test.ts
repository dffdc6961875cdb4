import { describe, expect, test } from 'bun:test'
import { historyLink, isHistorical, markedInsertion, mayPutIn } from '#core/content/msc2716.ts'
import { redact } from '#core/event/redact.ts'
import type { JsonObject } from '#core/json.ts'
import { roomVersions } from '#core/room-version.ts'
import { alice, creator, Stage } from '#test/core/auth/stage.ts'

const v3 = roomVersions.get('org.matrix.msc2716v3')!
const v4 = roomVersions.get('org.matrix.msc2716v4')!
const v10 = roomVersions.get('10')!
const types = ['insertion', 'batch', 'marker'].map((name) => `org.matrix.msc2716.${name}`)

const keysOf = (prefix: boolean): Record<string, string> => ({
  [types[0]!]: prefix ? 'org.matrix.msc2716.next_batch_id' : 'next_batch_id',
  [types[1]!]: prefix ? 'org.matrix.msc2716.batch_id' : 'batch_id',
  [types[2]!]: prefix ? 'org.matrix.msc2716.marker.insertion' : 'insertion_event_reference',
})

describe.each([v3, v4])('in $id', (version) => {
  const stage = (levels: JsonObject) =>
    new Stage(version).join(alice).levels({ users: { [creator]: 100, [alice]: 50 }, ...levels })
  const tooLow = "The sender's power is too low to put in history"

  for (const type of types) {
    test(`${type} takes the power \`historical\`, which is 100 unless told`, () => {
      const said = (sender: string, levels: JsonObject) =>
        stage(levels).judge({ sender, type, content: {} })
      expect(said(alice, {})).toBe(tooLow)
      expect(said(creator, {})).toBe('allow')
      expect(said(alice, { historical: 51 })).toBe(tooLow)
      expect(said(alice, { historical: 50 })).toBe('allow')
      // Only its own rule: it needs what any event of its type needs, too.
      expect(said(alice, { historical: 0, events: { [type]: 60 } })).toBe(
        `The sender's power is too low for ${type}`,
      )
    })

    test(`a redacted ${type} keeps what it links`, () => {
      const key = keysOf(version === v3)[type]!
      const content = { [key]: 'x', body: 'y', 'org.matrix.msc2716.historical': true }
      expect(redact(version, { type, content })['content']).toEqual({ [key]: 'x' })
    })
  }

  test('redacted power levels keep `historical`', () => {
    const content = { historical: 7, invite: 3, ban: 50 }
    const { content: left } = redact(version, { type: 'm.room.power_levels', content })
    expect(left).toEqual({ historical: 7, ban: 50 })
  })
})

test('in other versions there is no such power, and a redaction leaves nothing', () => {
  const room = new Stage(v10).join(alice).levels({ users: { [creator]: 100 } })
  for (const type of types) {
    expect(room.judge({ sender: alice, type, content: {} })).toBe('allow')
    const content = { [keysOf(false)[type]!]: 'x' }
    expect(redact(v10, { type, content })['content']).toEqual({})
  }
  const { content } = redact(v10, { type: 'm.room.power_levels', content: { historical: 7 } })
  expect(content).toEqual({})
})

test('in other versions only events of the creator mean anything', () => {
  for (const id of ['1', '10', '11', '12']) {
    const { create, version } = new Stage(roomVersions.get(id)!)
    expect(mayPutIn(version, create, creator)).toBe(true)
    expect(mayPutIn(version, create, alice)).toBe(false)
  }
  expect(mayPutIn(v10, undefined, creator)).toBe(false)
  expect(mayPutIn(v4, undefined, alice)).toBe(true)
  const { create, version } = new Stage(roomVersions.get('12')!, { additional_creators: [alice] })
  expect(mayPutIn(version, create, alice)).toBe(true)
})

test('what links is read from the keys of the version, and nothing else is taken for it', () => {
  const link = (version: typeof v3, type: string, content: JsonObject) =>
    historyLink({ version, type, content })
  const [insertion, batch, marker] = types as [string, string, string]
  expect(link(v4, insertion, { next_batch_id: 'a' })).toEqual({ batchId: 'a', isInsertion: true })
  expect(link(v10, batch, { batch_id: 'a' })).toEqual({ batchId: 'a', isInsertion: false })
  expect(link(v3, batch, { 'org.matrix.msc2716.batch_id': 'a' })).toEqual({
    batchId: 'a',
    isInsertion: false,
  })
  expect(link(v3, insertion, { next_batch_id: 'a' })).toBeUndefined()
  expect(link(v4, marker, { batch_id: 'a' })).toBeUndefined()
  for (const odd of [1, null, '', 'a'.repeat(256), 'a\0', ['a']])
    expect(link(v4, insertion, { next_batch_id: odd })).toBeUndefined()
})

test('a marker names an insertion event', () => {
  const room = new Stage(v10)
  const marked = (type: string, content: JsonObject) =>
    markedInsertion(room.event({ sender: creator, type, content, stateKey: 'a' }))
  expect(marked(types[2]!, { insertion_event_reference: '$a' })).toBe('$a')
  expect(marked(types[2]!, { insertion_event_reference: 1 })).toBeUndefined()
  expect(marked(types[0]!, { insertion_event_reference: '$a' })).toBeUndefined()
  expect(isHistorical({ 'org.matrix.msc2716.historical': true })).toBe(true)
  expect(isHistorical({ 'org.matrix.msc2716.historical': 'true' })).toBe(false)
})
