import { expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { createRoom, openStage, setState, type Stage } from '#test/room-engine.ts'
import { endImport, ghost, message, openImport, person, sendBatch } from './importing.ts'

const db = await testDatabase()
const names = ['ann', 'ben', 'cat'].map(ghost)

/** Imports what each of three says; the memberships of its chain in order, and who failed to speak. */
async function memberships(stage: Stage, roomId: string) {
  const { session_id: session } = await openImport(stage, roomId)
  const answer = await sendBatch(stage, roomId, session, 0, {
    people: names.map((name) => person(name)),
    records: names.map((name, index) => message(name, name, 1_000 + index)),
  })
  await endImport(stage, roomId, session, 'commit')
  const rows = await db.pool<{ json: string }[]>`
    select j.json from import_sessions s
    join events e on e.shard = s.shard and e.chain = s.chain and e.state_key_nid is not null
    join event_json j on j.shard = e.shard and j.event_nid = e.event_nid
    where s.session_id = ${session} order by e.chain_index`
  const found = rows.map(({ json }) => {
    const { content, state_key: user } = JSON.parse(json)
    return `${content.membership} ${user.slice(9, 12)}`
  })
  const failed = answer['failed'] as { src_id: string; errcode: string }[]
  return { found, failed: failed.map(({ src_id: id, errcode }) => [id, errcode]) }
}

const leaving = ['leave ann', 'leave ben', 'leave cat']

test('nobody is invited into a room that lets everybody in', async () => {
  await using stage = await openStage(db)
  const { found, failed } = await memberships(stage, await createRoom(stage))
  expect(found.slice(0, 3)).toEqual(['join ann', 'join ben', 'join cat'])
  expect(found.slice(3).sort()).toEqual(leaving)
  expect(failed).toEqual([])
})

test('everybody is invited into one that does not', async () => {
  await using stage = await openStage(db)
  const roomId = await createRoom(stage, '12', { preset: 'private_chat' })
  const { found, failed } = await memberships(stage, roomId)
  expect(found.slice(0, 6)).toEqual([
    'invite ann',
    'join ann',
    'invite ben',
    'join ben',
    'invite cat',
    'join cat',
  ])
  expect(found.slice(6).sort()).toEqual(leaving)
  expect(failed).toEqual([])
})

test('whoever is banned does not speak, and holds up nobody', async () => {
  await using stage = await openStage(db)
  const roomId = await createRoom(stage)
  await setState(stage, roomId, 'm.room.member', { membership: 'ban' }, ghost('ann'))
  const { found, failed } = await memberships(stage, roomId)
  expect(failed).toEqual([[ghost('ann'), 'M_FORBIDDEN']])
  expect(found.filter((each) => each.startsWith('join'))).toEqual(['join ben', 'join cat'])
})
