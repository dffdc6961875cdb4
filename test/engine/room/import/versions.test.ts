import { expect, test } from 'bun:test'
import { parsePdu } from '#core/event/check.ts'
import { contentHash } from '#core/event/hash.ts'
import type { JsonObject } from '#core/json.ts'
import { unpackEventId } from '#store/room/event-id.ts'
import { versionOf } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { createRoom, openStage, say } from '#test/room-engine.ts'
import { endImport, ghost, message, openImport, person, sendBatch } from './importing.ts'

const db = await testDatabase()

test.each(['1', '3', '6', '10', '11', '12'])(
  'what is imported into a room of version %s are events of that version, each on top of the one before',
  async (id) => {
    await using stage = await openStage(db)
    const version = versionOf(id)
    const roomId = await createRoom(stage, id, { preset: 'private_chat' })
    await say(stage, roomId, 'one')
    const { session_id: session } = await openImport(stage, roomId, {
      position: { atStart: true },
    })
    const ann = ghost('ann')
    const sent = await sendBatch(stage, roomId, session, 0, {
      people: [person(ann, { displayname: 'Ann' })],
      records: [
        message('a', ann, 1_000),
        message('b', ann, 2_000, { relates: { reply: 'a' } }),
        { ...message('c', ann, 3_000, { relates: { target: 'a' } }), type: 'm.room.redaction' },
      ],
    })
    expect(sent).toMatchObject({ accepted: 3, failed: [] })
    const done = await endImport(stage, roomId, session, 'commit')
    expect(done['merge_event_id']).toBeString()
    const rows = await db.pool<{ event_id: Uint8Array; json: string }[]>`
      select e.event_id, j.json from import_sessions s
      join events e on e.shard = s.shard and e.chain = s.chain
      join event_json j on j.shard = e.shard and j.event_nid = e.event_nid
      where s.session_id = ${session} order by e.chain_index`
    const events = rows.map(({ event_id: packed, json }) => {
      const pdu = JSON.parse(json) as JsonObject
      const parsed = parsePdu(version, pdu, { roomId })
      if ('refused' in parsed) throw new Error(parsed.refused)
      expect(parsed.ok.eventId).toBe(unpackEventId(packed, version))
      expect(contentHash(version, pdu)).toBe((pdu['hashes'] as JsonObject)['sha256'] as string)
      return parsed.ok
    })
    // An invite, a join, what was said, and the leaving at the end.
    expect(events.map(({ type, content }) => content['membership'] ?? type)).toEqual([
      'invite',
      'join',
      'm.room.message',
      'm.room.message',
      'm.room.redaction',
      'leave',
    ])
    for (const [index, event] of events.entries())
      if (index > 0) expect(event.prevEvents).toEqual([events[index - 1]!.eventId])
    expect(events[4]!.redacts).toBe(events[2]!.eventId)
    const [counted] = await db.pool<{ applied: boolean }[]>`
      select x.applied from redactions x
      join events e on e.shard = x.shard and e.event_nid = x.redaction_nid
      join import_sessions s on s.shard = e.shard and s.chain = e.chain
      where s.session_id = ${session}`
    expect(counted).toEqual({ applied: true })
    expect(stage.errors).toEqual([])
  },
)
