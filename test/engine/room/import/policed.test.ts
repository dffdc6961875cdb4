import { expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { policedIn, read, refused, signed } from '#test/engine/room/policed.ts'
import { createRoom, refusal, say, until } from '#test/room-engine.ts'
import { endImport, ghost, messages, openImport, person, sendBatch } from './importing.ts'

const db = await testDatabase()
const { openPoliced, isSigned } = policedIn(db)
const ann = ghost('ann')
type Policed = Awaited<ReturnType<typeof openPoliced>>

/** A session with some history for before what is said in the room. */
async function staged(scene: Policed): Promise<string> {
  await say(scene, scene.roomId, 'one')
  const { session_id: session } = await openImport(scene, scene.roomId, {
    federate: true,
    position: { atStart: true },
  })
  scene.asked.splice(0)
  const records = messages('m', ann, 5)
  const sent = await sendBatch(scene, scene.roomId, session, 0, { records, people: [person(ann)] })
  expect(sent).toMatchObject({ accepted: 5, failed: [] })
  return session
}

const askedTypes = ({ asked, room }: Policed) => asked.map(({ body }) => read(room, body!).type)
async function ends({ roomId }: Policed): Promise<string[]> {
  const rows = await db.pool<{ type: string }[]>`
    select t.type from rooms r
    join extremities x using (shard, room_nid)
    join events e on e.shard = x.shard and e.event_nid = x.event_nid
    join event_types t using (type_nid)
    where r.room_id = ${roomId}`
  return rows.map(({ type }) => type)
}
const placed = (session: string) => db.pool`
  select from import_sessions s join spans n on n.shard = s.shard and n.chain = s.chain
  where s.session_id = ${session} and not n.hidden`

test('what ties an import into a room is signed by its policy server, and the history itself is not asked for', async () => {
  await using scene = await openPoliced()
  const session = await staged(scene)
  expect(scene.asked).toEqual([])
  const done = await endImport(scene, scene.roomId, session, 'commit')
  expect(askedTypes(scene)).toEqual([
    'org.laneway.import.boundary',
    'org.laneway.import.merge',
    'org.matrix.msc2716.marker',
  ])
  for (const id of ['merge_event_id', 'marker_event_id'])
    expect(await isSigned(scene, done[id] as string)).toBe(true)
  const [end] = scene.asked.map(({ body }) => read(scene.room, body!).eventId)
  expect(await isSigned(scene, end!)).toBe(true)
  expect(await placed(session)).toHaveLength(1)
  expect(await ends(scene)).toEqual(['org.matrix.msc2716.marker'])
  expect(scene.errors).toEqual([])
})

test('what is said while the policy server is asked does not keep an import out', async () => {
  let says = 0
  const scene: Policed = await openPoliced(async (event) => {
    if (event.type.startsWith('org.laneway.import.')) await say(scene, scene.roomId, `${says++}`)
    return signed(event)
  })
  const session = await staged(scene)
  const done = await endImport(scene, scene.roomId, session, 'commit')
  expect(says).toBe(2)
  expect(askedTypes(scene).filter((type) => type === 'org.laneway.import.merge')).toHaveLength(1)
  expect(await isSigned(scene, done['merge_event_id'] as string)).toBe(true)
  expect(await placed(session)).toHaveLength(1)
  // The marker ties what was said meanwhile to it.
  expect(await ends(scene)).toEqual(['org.matrix.msc2716.marker'])
  expect(scene.errors).toEqual([])
  await scene.stop()
})

test('an import that the policy server does not want is not published, and may be tried again', async () => {
  let wants = false
  await using scene = await openPoliced((event) =>
    wants || !event.type.startsWith('org.laneway.') ? signed(event) : refused(),
  )
  const session = await staged(scene)
  const commit = () => endImport(scene, scene.roomId, session, 'commit')
  expect(await refusal(commit())).toEqual([400, 'M_FORBIDDEN'])
  expect(await placed(session)).toHaveLength(0)
  await say(scene, scene.roomId, 'two')
  wants = true
  expect((await commit())['merge_event_id']).toBeString()
  expect(await placed(session)).toHaveLength(1)
})

test('without the policy server’s word for its marker an import is published all the same', async () => {
  await using scene = await openPoliced((event) =>
    event.type === 'org.matrix.msc2716.marker' ? refused() : signed(event),
  )
  const session = await staged(scene)
  const done = await endImport(scene, scene.roomId, session, 'commit')
  expect(done['merge_event_id']).toBeString()
  expect(done['marker_event_id']).toBeUndefined()
  expect(await placed(session)).toHaveLength(1)
})

test('an import that waits for a policy server holds up none into another room', async () => {
  const answers = Promise.withResolvers<void>()
  await using scene = await openPoliced(async (event) => {
    if (event.type.startsWith('org.laneway.')) await answers.promise
    return signed(event)
  })
  const slow = await staged(scene)
  const waiting = endImport(scene, scene.roomId, slow, 'commit')
  await until(() => scene.asked.length > 0)
  const other = await createRoom(scene)
  const { session_id: quick } = await openImport(scene, other)
  await sendBatch(scene, other, quick, 0, {
    records: messages('m', ann, 600),
    people: [person(ann)],
  })
  await endImport(scene, other, quick, 'commit')
  expect(await placed(quick)).toHaveLength(1)
  expect(await placed(slow)).toHaveLength(0)
  answers.resolve()
  await waiting
  expect(await placed(slow)).toHaveLength(1)
})
