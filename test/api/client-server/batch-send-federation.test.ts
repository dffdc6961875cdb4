import { expect, test } from 'bun:test'
import type { Person } from '#test/api/server-server/two-homes.ts'
import { until } from '#test/until.ts'
import { historyHomes, Importer, readAll, textsOf } from './history.ts'

/** History is put in on one server, and read on the other. */
const [home, far] = await historyHomes(['old.test', 'far.test'])
const importer = new Importer(home)
const [alice, bob] = [await home.person('alice'), await far.person('bob')]
const [maria, ricky] = [await importer.ghost('maria'), await importer.ghost('ricky')]

const join = (person: Person, roomId: string) =>
  person.do('POST', `join/${encodeURIComponent(roomId)}?server_name=old.test`, {})

async function talk(texts: readonly string[], joined: readonly Person[], wish: object = {}) {
  const roomId = await importer.room(wish)
  for (const person of [alice, ...joined]) await join(person, roomId)
  const ids: string[] = []
  for (const text of texts) ids.push(await alice.say(roomId, text))
  return { roomId, ids }
}

/** Two batches behind an event, the newer sent first; what is to be named by a marker. */
async function putIn(roomId: string, behind: string, name = 'h'): Promise<string> {
  const senders = [maria, ricky]
  const newer = await importer.batch(roomId, behind, [`${name}3`, `${name}4`], { senders })
  const batchId = newer.next_batch_id
  await importer.batch(roomId, behind, [`${name}1`, `${name}2`], { senders, batchId })
  return newer.base_insertion_event_id!
}

const reads = async (person: Person, roomId: string, expected: readonly string[]) => {
  await until(async () => {
    const texts = textsOf(await readAll(person, roomId, 'b'))
    return texts.join() === expected.join()
  }).catch(async () => expect(textsOf(await readAll(person, roomId, 'b'))).toEqual([...expected]))
  expect(textsOf(await readAll(person, roomId, 'f'))).toEqual([...expected])
}

const all = ['a', 'h1', 'h2', 'h3', 'h4', 'b']

test('a server that was in the room reads it in order once a marker says so', async () => {
  const { roomId, ids } = await talk(['a', 'b'], [bob])
  await until(async () => textsOf(await readAll(bob, roomId, 'b')).includes('b'))
  const base = await putIn(roomId, ids[0]!)
  await reads(alice, roomId, all)
  // Nothing is sent to others.
  await alice.say(roomId, 'c')
  await until(async () => textsOf(await readAll(bob, roomId, 'b')).includes('c'))
  expect(textsOf(await readAll(bob, roomId, 'b'))).toEqual(['a', 'b', 'c'])
  await importer.mark(roomId, base)
  await reads(bob, roomId, [...all, 'c'])
})

test('a server that joins later reads it, where the marker is in the state', async () => {
  const { roomId, ids } = await talk(['a', 'b'], [])
  await importer.mark(roomId, await putIn(roomId, ids[0]!))
  await join(bob, roomId)
  await reads(bob, roomId, all)
})

test('an insertion event that was sent live leads a server that joins later to its batches', async () => {
  const { roomId, ids } = await talk(['a'], [])
  const path = `rooms/${encodeURIComponent(roomId)}/send/org.matrix.msc2716.insertion/1`
  await importer.do('PUT', path, { next_batch_id: 'made', 'org.matrix.msc2716.historical': true })
  await alice.say(roomId, 'b')
  await importer.batch(roomId, ids[0]!, ['h1', 'h2'], { senders: [maria], batchId: 'made' })
  await reads(alice, roomId, ['a', 'h1', 'h2', 'b'])
  await join(bob, roomId)
  await reads(bob, roomId, ['a', 'h1', 'h2', 'b'])
})

test('several markers lead to several places, and one again to what was added since', async () => {
  const { roomId, ids } = await talk(['a', 'b', 'c'], [bob])
  await until(async () => textsOf(await readAll(bob, roomId, 'b')).includes('c'))
  const first = await importer.batch(roomId, ids[0]!, ['h2'], { senders: [maria] })
  await importer.mark(roomId, first.base_insertion_event_id!)
  await importer.mark(roomId, await putIn(roomId, ids[1]!, 'g'))
  await reads(bob, roomId, ['a', 'h2', 'b', 'g1', 'g2', 'g3', 'g4', 'c'])
  const batchId = first.next_batch_id
  await importer.batch(roomId, ids[0]!, ['h1'], { senders: [ricky], batchId })
  await importer.mark(roomId, first.base_insertion_event_id!)
  await reads(bob, roomId, ['a', 'h1', 'h2', 'b', 'g1', 'g2', 'g3', 'g4', 'c'])
})

test('a marker that was sent while a server was away is found when it comes back', async () => {
  const { roomId, ids } = await talk(['a', 'b'], [bob])
  await until(async () => textsOf(await readAll(bob, roomId, 'b')).includes('b'))
  await bob.do('POST', `rooms/${encodeURIComponent(roomId)}/leave`, {})
  const left = () => alice.membershipOf(roomId, bob.userId)
  await until(async () => (await left()) === 'leave')
  await importer.mark(roomId, await putIn(roomId, ids[0]!))
  for (let i = 0; i < 12; i++) await alice.say(roomId, `away ${i}`)
  await join(bob, roomId)
  await reads(bob, roomId, [...all, ...Array.from({ length: 12 }, (_, i) => `away ${i}`)])
})

test('more than one page is read on when somebody scrolls', async () => {
  const { roomId, ids } = await talk(['a', 'b'], [bob])
  await until(async () => textsOf(await readAll(bob, roomId, 'b')).includes('b'))
  const texts = (name: string) => Array.from({ length: 45 }, (_, i) => `${name}${i}`)
  const senders = [maria, ricky]
  let sent = await importer.batch(roomId, ids[0]!, texts('z'), { senders })
  const base = sent.base_insertion_event_id!
  for (const name of ['y', 'x'])
    sent = await importer.batch(roomId, ids[0]!, texts(name), {
      senders,
      batchId: sent.next_batch_id,
    })
  await importer.mark(roomId, base)
  await reads(bob, roomId, ['a', ...['x', 'y', 'z'].flatMap(texts), 'b'])
})

test('two batches that hang on one insertion event are both read, each in its order', async () => {
  const { roomId, ids } = await talk(['a', 'b'], [bob])
  await until(async () => textsOf(await readAll(bob, roomId, 'b')).includes('b'))
  const senders = [maria, ricky]
  const last = await importer.batch(roomId, ids[0]!, ['z'], { senders })
  const batchId = last.next_batch_id
  await importer.batch(roomId, ids[0]!, ['h1', 'h2'], { senders, batchId })
  await importer.batch(roomId, ids[0]!, ['g1', 'g2'], { senders, batchId })
  await importer.mark(roomId, last.base_insertion_event_id!)
  for (const person of [alice, bob]) {
    await until(async () => textsOf(await readAll(person, roomId, 'b')).length === 7)
    const texts = textsOf(await readAll(person, roomId, 'f'))
    // Which of the two is older nobody said: that may be read either way elsewhere.
    expect([texts[0], ...texts.slice(-2)]).toEqual(['a', 'z', 'b'])
    for (const name of ['g', 'h'])
      expect(texts.filter((text) => text.startsWith(name))).toEqual([`${name}1`, `${name}2`])
  }
})

test('a marker of somebody else than the creator leads nowhere', async () => {
  const { roomId, ids } = await talk(['a', 'b'], [bob], {
    power_level_content_override: { state_default: 0 },
  })
  await until(async () => textsOf(await readAll(bob, roomId, 'b')).includes('b'))
  const base = await putIn(roomId, ids[0]!)
  const path = `rooms/${encodeURIComponent(roomId)}/state/org.matrix.msc2716.marker/1`
  await alice.do('PUT', path, { insertion_event_reference: base })
  await alice.say(roomId, 'c')
  await until(async () => textsOf(await readAll(bob, roomId, 'b')).includes('c'))
  // The creator's is followed behind it.
  expect(textsOf(await readAll(bob, roomId, 'b'))).toEqual(['a', 'b', 'c'])
  await importer.mark(roomId, base)
  await reads(bob, roomId, [...all, 'c'])
})
