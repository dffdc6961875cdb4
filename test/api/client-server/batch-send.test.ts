import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import type { Person } from '#test/api/server-server/two-homes.ts'
import { batch, historyHomes, Importer, insertion, readAll, textsOf, typesOf } from './history.ts'

let remove: () => Promise<void>
let importer: Importer
let alice: Person
let maria: string

beforeAll(async () => {
  const { homes, remove: removeHomes } = await historyHomes(['old.test', 'other.test'])
  remove = removeHomes
  importer = new Importer(homes[0])
  alice = await homes[0].person('alice')
  maria = await importer.ghost('maria')
})

afterAll(() => remove())

/** A room in which Alice has said some things; their event IDs. */
async function talk(texts: readonly string[], wish: object = {}) {
  const roomId = await importer.room(wish)
  await alice.do('POST', `join/${encodeURIComponent(roomId)}`, {})
  const ids: string[] = []
  for (const text of texts) ids.push(await alice.say(roomId, text))
  return { roomId, ids }
}

describe('history reads', () => {
  test('directly behind the event that was named, each batch before those that were sent earlier', async () => {
    const { roomId, ids } = await talk(['a', 'b', 'c'])
    const first = await importer.batch(roomId, ids[0]!, ['h3', 'h4'], { senders: [maria] })
    const second = await importer.batch(roomId, ids[0]!, ['h1', 'h2'], {
      senders: [maria],
      batchId: first.next_batch_id,
    })
    const expected = ['a', 'h1', 'h2', 'h3', 'h4', 'b', 'c']
    for (const limit of [1, 3, 100]) {
      expect(textsOf(await readAll(alice, roomId, 'b', limit))).toEqual(expected)
      expect(textsOf(await readAll(alice, roomId, 'f', limit))).toEqual(expected)
    }
    const all = await readAll(alice, roomId, 'f')
    expect(typesOf(all).slice(-11)).toEqual(
      ['a', insertion, 'h1', 'h2', batch, insertion, 'h3', 'h4', batch, insertion, 'b']
        .concat('c')
        .slice(-11),
    )
    expect(second.base_insertion_event_id).toBeUndefined()
    expect(first.base_insertion_event_id).toBeString()
    expect(first.event_ids.length).toBe(2)
  })

  test('behind the newest event, and what is said then comes after it', async () => {
    const { roomId, ids } = await talk(['a'])
    await importer.batch(roomId, ids[0]!, ['h1', 'h2'], { senders: [maria] })
    await alice.say(roomId, 'b')
    await importer.batch(roomId, ids[0]!, ['g1'], { senders: [maria] })
    await alice.say(roomId, 'c')
    expect(textsOf(await readAll(alice, roomId, 'f'))).toEqual(['a', 'g1', 'h1', 'h2', 'b', 'c'])
    expect(textsOf(await readAll(alice, roomId, 'b', 2))).toEqual(['a', 'g1', 'h1', 'h2', 'b', 'c'])
  })
})
