import { describe, expect, test } from 'bun:test'
import { MatrixError } from '#core/error.ts'
import { testDatabase } from '#test/database.ts'
import { Home } from '#test/api/client-server/home.ts'
import { twoHomes } from '#test/api/server-server/two-homes.ts'
import { until } from '#test/until.ts'

const enc = encodeURIComponent
const v1 = '/_synapse/admin/v1/rooms'
const v2 = '/_synapse/admin/v2/rooms'
const [here, there] = await twoHomes()
const root = await here.person('root')
await here.context.accounts.change(root.userId, { admin: true })
const [alice, bob] = [await here.person('alice'), await there.person('bob')]

describe('a room of two servers', () => {
  const ask = async (method: string, path: string, body?: object) => {
    const response = await root.fetch(path, { method, ...(body && { body: JSON.stringify(body) }) })
    return { status: response.status, body: (await response.json()) as any }
  }

  /** A room of alice's with a name, where bob is, and who was invited. */
  async function shared() {
    const { room_id: roomId } = await alice.do('POST', 'createRoom', {
      preset: 'public_chat',
      room_alias_name: `room-${crypto.randomUUID()}`,
      visibility: 'public',
      power_level_content_override: { invite: 0 },
    })
    await bob.do('POST', `join/${enc(roomId)}?via=here.test`, {})
    await until(async () => (await alice.membershipOf(roomId, bob.userId)) === 'join')
    await alice.do('POST', `rooms/${enc(roomId)}/invite`, { user_id: root.userId })
    await alice.say(roomId, 'a findable word')
    return roomId as string
  }

  const rowsOf = async (roomId: string) => {
    const { sql } = here.context
    const [row] = await sql<{ rooms: number; left: number; events: number }[]>`
      select (select count(*)::int from rooms where room_id = ${roomId}) as rooms,
        (select count(*)::int from room_remains where room_id = ${roomId}) as left,
        (select count(*)::int from event_json where strpos(json, ${roomId}) > 0) as events`
    return row!
  }

  const ended = async (deleteId: string) => {
    await until(async () => {
      const { body } = await ask('GET', `${v2}/delete_status/${deleteId}`)
      return body.status === 'complete' || body.status === 'failed'
    })
    return (await ask('GET', `${v2}/delete_status/${deleteId}`)).body
  }

  test('is left by users of this one, told to the other, and then gone', async () => {
    const roomId = await shared()
    const { body } = await ask('DELETE', `${v2}/${enc(roomId)}`, { purge: true })
    const status = await ended(body.delete_id as string)
    expect(status).toMatchObject({ status: 'complete', room_id: roomId })
    const { kicked_users: kicked, ...rest } = status.shutdown_room
    expect(kicked.sort()).toEqual([alice.userId, root.userId])
    expect(rest).toEqual({
      failed_to_kick_users: [],
      local_aliases: [expect.stringMatching(/^#room-.*:here.test$/)],
      new_room_id: null,
    })
    expect(await rowsOf(roomId)).toEqual({ rooms: 0, left: 0, events: 0 })
    // The other server had heard of it before.
    await until(async () => (await bob.membershipOf(roomId, alice.userId)) === 'leave')
    expect((await ask('GET', `${v1}/${enc(roomId)}`)).status).toBe(404)
    const listed = await ask('GET', `${v2}/${enc(roomId)}/delete_status`)
    expect(listed.body.results).toMatchObject([{ delete_id: body.delete_id, status: 'complete' }])
    const tasks = await ask('GET', `/_synapse/admin/v1/scheduled_tasks?resource_id=${enc(roomId)}`)
    expect(tasks.body.scheduled_tasks).toMatchObject([{ id: body.delete_id, status: 'complete' }])

    // Whoever goes back finds it as it is there.
    await alice.do('POST', `join/${enc(roomId)}?via=there.test`, {})
    await bob.say(roomId, 'again')
    await until(async () => (await alice.texts(roomId)).includes('again'))
    const sync = await alice.do('GET', 'sync?timeout=0')
    expect(Object.keys(sync.rooms.join)).toContain(roomId)
  })

  test('stays away if it is blocked', async () => {
    const roomId = await shared()
    const { body } = await ask('DELETE', `${v2}/${enc(roomId)}`, { block: true })
    expect((await ended(body.delete_id as string)).status).toBe('complete')
    const back = await alice.ask('POST', `join/${enc(roomId)}?via=there.test`, {})
    expect([back.status, back.body.errcode]).toEqual([403, 'M_FORBIDDEN'])
    const invite = { user_id: alice.userId }
    const invited = await bob.ask('POST', `rooms/${enc(roomId)}/invite`, invite)
    expect([invited.status, invited.body.error]).toEqual([403, expect.stringContaining('blocked')])
    await ask('PUT', `${v1}/${enc(roomId)}/block`, { block: false })
    await bob.do('POST', `rooms/${enc(roomId)}/invite`, invite)
  })

  test('is left and kept, if it is not to be purged; the old route answers with what was done', async () => {
    const roomId = await shared()
    const { body } = await ask('DELETE', `${v1}/${enc(roomId)}`, { purge: false })
    expect(body.kicked_users.sort()).toEqual([alice.userId, root.userId])
    expect(body.local_aliases).toHaveLength(1)
    await until(
      async () =>
        (await ask('GET', `${v2}/${enc(roomId)}/delete_status`)).body.results[0].status ===
        'complete',
    )
    const { body: room } = await ask('GET', `${v1}/${enc(roomId)}`)
    expect(room).toMatchObject({ joined_local_members: 0, public: false })
  })

  test.each([{ purge: false }, { purge: true }, { purge: true, force_purge: true }])(
    'is shown as left to clients that sync on: %j',
    async (wish) => {
      const roomId = await shared()
      const before = await alice.do('GET', 'sync')
      expect(Object.keys(before.rooms.join)).toContain(roomId)
      const { status, body } = await ask('DELETE', `${v1}/${enc(roomId)}`, wish)
      expect([status, body.failed_to_kick_users]).toEqual([200, []])
      const after = await alice.do('GET', `sync?timeout=0&since=${before.next_batch}`)
      const left = after.rooms?.leave?.[roomId]
      expect(left?.timeline.events.at(-1)).toMatchObject({
        type: 'm.room.member',
        state_key: alice.userId,
        content: { membership: 'leave' },
      })
      const [row] = (await ask('GET', `${v2}/${enc(roomId)}/delete_status`)).body.results
      await ended(row.delete_id as string)
      const whole = await alice.do('GET', 'sync')
      expect(Object.keys(whole.rooms?.join ?? {})).not.toContain(roomId)
      expect((await rowsOf(roomId)).rooms).toBe(wish.purge ? 0 : 1)
    },
  )

  test('is purged on after a restart', async () => {
    const roomId = await shared()
    const { sql } = here.context
    await sql`
      insert into room_deletions (
        delete_id, room_id, requested_by, requested_at, status, options, outcome)
      values ('before', ${roomId}, ${root.userId}, 1, 'active', '{"purge":true,"force":false}',
        '{"kicked_users":["@gone:here.test"]}')`
    await here.stop()
    await here.start()
    const { status, shutdown_room: done } = await ended('before')
    expect(status).toBe('complete')
    expect(done.kicked_users.sort()).toEqual([alice.userId, '@gone:here.test', root.userId].sort())
    expect(await rowsOf(roomId)).toEqual({ rooms: 0, left: 0, events: 0 })
  })
})

describe('a deletion', () => {
  const landed = () => ({ eventId: '$x', shard: 0, position: 0 })

  test('is refused where there is nothing to delete, or it is under way', async () => {
    const db = await testDatabase()
    const home = await Home.open(db)
    const root = await home.person('root', { admin: true })
    const admin = root.client
    const none = await admin.delete(`${v2}/!none:here.example`, {})
    expect([none.status, none.body.errcode]).toEqual([404, 'M_NOT_FOUND'])
    for (const version of [v1, v2]) {
      expect((await admin.delete(`${version}/nonsense`, {})).status).toBe(400)
      const moved = await admin.delete(`${version}/!x:y`, { new_room_user_id: '@a:here.example' })
      expect([moved.status, moved.body.errcode]).toEqual([400, 'M_INVALID_PARAM'])
    }
    expect((await admin.get(`${v2}/!none:here.example/delete_status`)).status).toBe(404)
    expect((await admin.get(`${v2}/delete_status/none`)).status).toBe(404)

    // Of a room that is not known here there is nothing but its name.
    const blocked = await admin.delete(`${v1}/!bad:there.example`, { block: true })
    expect(blocked.body).toMatchObject({ kicked_users: [] })
    expect((await admin.get(`${v1}/!bad:there.example/block`)).body.block).toBe(true)

    const room = await home.story.room(root.userId)
    const path = `${v2}/${enc(room.roomId)}`
    const leaving = Promise.withResolvers<object>()
    home.roomAnswers = { changeMembership: () => leaving.promise, removeRoom: () => [] }
    const first = await admin.delete(path, {})
    expect(first.status).toBe(200)
    const again = await admin.delete(path, {})
    expect([again.status, again.body.errcode]).toEqual([400, 'M_UNKNOWN'])
    leaving.resolve(landed())
    await home.ctx.roomDeletions.settled()
    const { body } = await admin.get(`${v2}/delete_status/${first.body.delete_id}`)
    expect(body.status).toBe('complete')
  })

  test('fails if a user cannot be taken out, unless it is to go all the same', async () => {
    const db = await testDatabase()
    const home = await Home.open(db)
    const { client: admin, userId } = await home.person('root', { admin: true })
    const room = await home.story.room(userId)
    const removed: unknown[] = []
    home.roomAnswers = {
      changeMembership: () => {
        throw new MatrixError(403, 'M_FORBIDDEN', 'no')
      },
      removeRoom: (...args) => {
        removed.push(args)
        return []
      },
    }
    const run = async (force: boolean) => {
      const wish = { force_purge: force }
      const { body } = await admin.delete(`${v2}/${enc(room.roomId)}`, wish)
      await home.ctx.roomDeletions.settled()
      return (await admin.get(`${v2}/delete_status/${body.delete_id}`)).body
    }
    const failed = { failed_to_kick_users: [userId], kicked_users: [] }
    expect(await run(false)).toMatchObject({ status: 'failed', shutdown_room: failed })
    expect(removed).toEqual([])
    expect(await run(true)).toMatchObject({ status: 'complete', shutdown_room: failed })
    expect(removed).toEqual([[room.roomId, true]])
  })
})
