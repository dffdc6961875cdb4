import { expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { messages } from '#test/engine/room/import/importing.ts'
import {
  encoded,
  importAll,
  makeRoom,
  openImporting,
  path,
  readAll,
  say,
  texts,
} from './importing.ts'

const db = await testDatabase()
const { home, root } = await openImporting(db)
const ann = '@_import_ann:here.example'
const people = [{ user_id: ann }]

const names = (prefix: string, count: number) =>
  Array.from({ length: count }, (_, index) => `${prefix}${index}`)

async function story() {
  const alice = await home.person('alice')
  const roomId = await makeRoom(alice)
  const ids: string[] = []
  for (const name of names('live', 12)) ids.push((await say(alice, roomId, name)).body.event_id)
  return { alice, roomId, ids }
}

const position = (ids: readonly string[], index: number) => ({
  mode: 'insert',
  position: { before: ids[index] },
})

test('two imports within a room are read in order both ways, in pages of any size, around each border', async () => {
  const { alice, roomId, ids } = await story()
  await importAll(
    root.client,
    { room_id: roomId, source: 'a', ...position(ids, 4) },
    {
      people,
      records: messages('a', ann, 25),
    },
  )
  // Into the middle of the first.
  await importAll(
    root.client,
    { room_id: roomId, source: 'b', mode: 'insert', position: { by_time: true } },
    { people, records: messages('b', ann, 3, 1_400_000_009_500) },
  )
  await importAll(
    root.client,
    { room_id: roomId, source: 'c', ...position(ids, 4) },
    {
      people,
      records: messages('c', ann, 2),
    },
  )
  const a = names('a', 25)
  const live = names('live', 12)
  const all = [
    ...live.slice(0, 4),
    ...a.slice(0, 10),
    ...names('b', 3),
    ...a.slice(10),
    ...names('c', 2),
    ...live.slice(4),
  ]
  for (const limit of [1, 7, 100])
    for (const dir of ['b', 'f'] as const)
      expect(texts(await readAll(alice.client, roomId, { limit, dir }))).toEqual(all)
  const around = `/rooms/${encoded(roomId)}/context/${encoded(ids[4]!)}?limit=8`
  const { body } = await alice.client.get(around)
  expect(texts(body.events_before)).toEqual(['c1', 'c0'])
  expect(texts(body.events_after)).toEqual(['live5', 'live6', 'live7', 'live8'])
})

test('a token that was taken before an import, or within it, goes on rightly after it, and after its undoing', async () => {
  const { alice, roomId, ids } = await story()
  const page = async (from: string | undefined, dir: 'b' | 'f', limit = 1) => {
    const query = `dir=${dir}&limit=${limit}${from === undefined ? '' : `&from=${encoded(from)}`}`
    const { body } = await alice.client.get(`/rooms/${encoded(roomId)}/messages?${query}`)
    return body as { chunk: any[]; end?: string }
  }
  // Tokens between each two messages, from both sides.
  const back: string[] = []
  for (let from: string | undefined; back.length < 12;) {
    const { chunk, end } = await page(from, 'b')
    expect(texts(chunk)).toEqual([`live${11 - back.length}`])
    back.push((from = end!))
  }
  const live = names('live', 12)
  const a = names('a', 5)
  const { body: synced } = await alice.client.get('/sync?timeout=0')
  const session = await importAll(
    root.client,
    { room_id: roomId, source: 'a', ...position(ids, 6) },
    { people, records: messages('a', ann, 5) },
  )
  const merged = [...live.slice(0, 6), ...a, ...live.slice(6)]
  const rest = async (from: string, dir: 'b' | 'f', limit: number) =>
    texts(await readAll(alice.client, roomId, { limit, dir, from }))
  const before = (list: string[], name: string) => list.slice(0, list.indexOf(name))
  for (const [index, token] of back.entries())
    for (const limit of [1, 7])
      expect(await rest(token, 'b', limit)).toEqual(before(merged, `live${11 - index}`))
  expect(await rest(synced.next_batch, 'b', 7)).toEqual(merged)

  // Tokens within the import.
  const first = await page(back[5], 'b', 3)
  // Behind the word that the speaker has left.
  expect(texts(first.chunk)).toEqual(['a4', 'a3'])
  const within = first.end!
  expect(await rest(within, 'b', 1)).toEqual([...live.slice(0, 6), 'a0', 'a1', 'a2'])
  await root.client.post(`${path}/${session}/undo`)
  for (const limit of [1, 7]) {
    expect(await rest(within, 'b', limit)).toEqual(live.slice(0, 6))
    expect(await rest(within, 'f', limit)).toEqual(live.slice(6))
    for (const [index, token] of back.entries())
      expect(await rest(token, 'b', limit)).toEqual(before(live, `live${11 - index}`))
  }
})

test('a token within an import at the very beginning still resolves when it is undone', async () => {
  const { alice, roomId } = await story()
  const session = await importAll(
    root.client,
    { room_id: roomId, source: 'a', mode: 'insert', position: { at_start: true } },
    { people, records: messages('a', ann, 5) },
  )
  const all = await alice.client.get(`/rooms/${encoded(roomId)}/messages?dir=b&limit=18`)
  expect(texts(all.body.chunk).at(-1)).toEqual('a2')
  await root.client.post(`${path}/${session}/undo`)
  const forth = texts(
    await readAll(alice.client, roomId, { limit: 5, dir: 'f', from: all.body.end }),
  )
  expect(forth).toEqual(names('live', 12))
})

test('a newer export adds what is new; one that was imported already changes nothing', async () => {
  const alice = await home.person('alice')
  const roomId = await makeRoom(alice)
  const wish = { room_id: roomId, source: 'gitter' }
  await importAll(
    root.client,
    { ...wish, mode: 'fresh' },
    {
      people,
      records: messages('m', ann, 10),
    },
  )
  const read = async () => texts(await readAll(alice.client, roomId, { limit: 7 }))
  expect(await read()).toEqual(names('m', 10))
  const { body } = await root.client.post(path, { ...wish, mode: 'append' })
  const send = (batch: number, count: number) =>
    root.client.put(`${path}/${body.session_id}/batches/${batch}`, {
      people,
      records: messages('m', ann, count),
    })
  expect((await send(0, 10)).body).toMatchObject({ accepted: 0, duplicates: 10 })
  expect((await send(1, 12)).body).toMatchObject({ accepted: 2, duplicates: 10 })
  await root.client.post(`${path}/${body.session_id}/commit`)
  expect(await read()).toEqual(names('m', 12))
  // An import of nothing is committed, too, and leaves no trace.
  const { body: empty } = await root.client.post(path, { ...wish, mode: 'append' })
  const done = await root.client.post(`${path}/${empty.session_id}/commit`)
  expect(done.body).toMatchObject({ accepted: 0 })
  expect(done.body.merge_event_id).toBeUndefined()
  expect(await read()).toEqual(names('m', 12))
})
