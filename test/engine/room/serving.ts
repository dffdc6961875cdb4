import { parseJson } from '#core/canonical-json.ts'
import { sealEvent } from '#core/event/build.ts'
import type { JsonObject } from '#core/json.ts'
import { type Made, MadeUpServer, versionOf } from '#test/builders.ts'
import type { TestDatabase } from '#test/database.ts'
import { alice, type Stage, stored } from '#test/room-engine.ts'
import { mallory, there } from './scene.ts'

/** Joins and leaves as another server asks for them. */
export const third = new MadeUpServer('third.test')

export const makeJoin = ({ rooms }: Stage, roomId: string, version: string, userId = mallory) =>
  rooms.call('makeJoin', roomId, userId, [version], there.name)

/** Signs a template as another server does. */
export function sign(version: string, template: string, server = there): Made {
  const json = parseJson(template) as JsonObject
  if (version === '1' || version === '2')
    json['event_id'] = `$${crypto.randomUUID()}:${server.name}`
  const signing = { serverName: server.name, key: server.key }
  const built = sealEvent(versionOf(version), json, signing)
  if (built.outcome !== 'built') throw new Error(built.reason)
  return { event: built.event, text: built.text }
}

export async function joinByTemplate(
  stage: Stage,
  roomId: string,
  version: string,
  userId = mallory,
) {
  const template = await makeJoin(stage, roomId, version, userId)
  const made = sign(version, template.event)
  const landed = await stage.rooms.call('sendJoin', roomId, there.name, made.text)
  return { made, landed }
}

export async function leaveByTemplate({ rooms }: Stage, roomId: string, version: string) {
  const template = await rooms.call('makeLeave', roomId, mallory, there.name)
  const made = sign(version, template.event)
  return { made, landed: await rooms.call('sendLeave', roomId, there.name, made.text) }
}

export async function membership(
  { pool }: TestDatabase,
  roomId: string,
  userId = mallory,
): Promise<string | undefined> {
  const [row] = await pool<{ membership: string }[]>`
    select m.membership from rooms r
    join memberships m on m.shard = r.shard and m.room_nid = r.room_nid
      and m.generation = r.generation
    join user_ids u on u.user_nid = m.user_nid
    where r.room_id = ${roomId} and u.user_id = ${userId}`
  return row?.membership
}

/** The servers to which an event goes. */
export async function destinations(
  database: TestDatabase,
  roomId: string,
  eventId: string,
): Promise<string[]> {
  const row = await stored(database, roomId, eventId)
  const sent = await database.pool<{ name: string }[]>`
    with recursive layer as (
      select s.base_nid, 0 as below, s.servers from events e
      join server_sets s on s.set_nid = e.destination_set
      join event_json j on j.shard = e.shard and j.event_nid = e.event_nid
      where j.json = ${row!.json}
      union all
      select s.base_nid, l.below + 1, s.servers from layer l
      join server_sets s on s.set_nid = l.base_nid
    ), entry as (
      select distinct on (abs(n)) abs(n) as nid, n > 0 as is_member
      from layer cross join unnest(servers) n order by abs(n), below
    )
    select v.name from entry join servers v on v.server_nid = nid where is_member`
  return sent.map(({ name }) => name).sort()
}

export const invite = ({ rooms }: Stage, roomId: string, target = mallory, sender = alice) =>
  rooms.call('send', roomId, {
    sender,
    type: 'm.room.member',
    stateKey: target,
    content: '{"membership":"invite"}',
  })

export const ban = ({ rooms }: Stage, roomId: string, target = mallory) =>
  rooms.call('changeMembership', roomId, {
    sender: alice,
    target,
    membership: 'ban',
    content: '{}',
  })
