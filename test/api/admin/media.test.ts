import { beforeAll, describe, expect, test } from 'bun:test'
import { createHash } from 'node:crypto'
import { testDatabase } from '#test/database.ts'
import type { Person } from '#test/api/client-server/home.ts'
import { MediaHome } from '#test/api/client-server/media-home.ts'

const db = await testDatabase()
const at = await MediaHome.open(db)
const { home } = at
const server = home.ctx.serverName
const v1 = '/_synapse/admin/v1'
let root: Person
beforeAll(async () => {
  root = await home.person('root', { admin: true })
})

const admin = (method: string, path: string) => at.ask(root, `${v1}${path}`, { method })
const download = async (who: Person, mediaId: string, origin = server) =>
  (await at.ask(who, `/_matrix/client/v1/media/download/${origin}/${mediaId}`)).status
let count = 0
/** Content that nobody else has. */
const content = () => `content ${++count}`
const refused = ({ status, body }: { status: number; body: any }) => [status, body?.errcode]

describe('quarantine', () => {
  test('hides a medium from everybody under each name, until it is lifted', async () => {
    const ann = await home.person('ann')
    const text = content()
    const [id, copy] = [await at.upload(ann, text), await at.upload(root, text)]
    const path = `/media/quarantine/${server}/${id}`
    expect((await admin('POST', path)).body).toEqual({})
    expect(await Promise.all([download(ann, id), download(root, copy)])).toEqual([404, 404])
    const thumbnail = `/_matrix/client/v1/media/thumbnail/${server}/${id}?width=32&height=32`
    expect((await at.ask(ann, thumbnail)).status).toBe(404)
    const shown = await admin('GET', `/media/${server}/${id}`)
    expect(shown.body.media_info).toMatchObject({
      media_id: id,
      quarantined_by: root.userId,
      user_id: ann.userId,
      media_length: text.length,
    })
    expect((await admin('POST', `/media/unquarantine/${server}/${id}`)).body).toEqual({})
    expect(await download(ann, id)).toBe(200)
  })

  test('is of all that a user has uploaded, but for what is protected', async () => {
    const ann = await home.person('ann')
    const [one, two] = [await at.upload(ann, content()), await at.upload(ann, content())]
    expect((await admin('POST', `/media/protect/${two}`)).body).toEqual({})
    const path = `/user/${ann.userId}/media/quarantine`
    expect((await admin('POST', path)).body).toEqual({ num_quarantined: 1 })
    expect([await download(ann, one), await download(ann, two)]).toEqual([404, 200])
    await admin('POST', `/media/unprotect/${two}`)
    expect((await admin('POST', path)).body).toEqual({ num_quarantined: 2 })
    expect(await download(ann, two)).toBe(404)
  })

  test('is of what the messages of a room name, encrypted or not, redacted or not', async () => {
    const ann = await home.person('ann')
    const ids = [await at.upload(ann, content()), await at.upload(ann, content())]
    const [file, small] = ids.map((id) => `mxc://${server}/${id}`)
    const room = await home.story.room(ann.userId)
    const said = await room.tell(ann.userId, 'm.room.message', {
      msgtype: 'm.image',
      body: 'x',
      url: file!,
      info: { thumbnail_file: { url: small! } },
    })
    await room.redact(ann.userId, said.eventId)
    await room.tell(ann.userId, 'm.room.message', {
      url: 'mxc://other.test/theirs',
      info: 'no object',
      file: [],
    })
    await room.tell(ann.userId, 'm.room.message', { body: 'mxc://here.example/no' })
    const path = `/room/${encodeURIComponent(room.roomId)}/media`
    expect((await admin('GET', path)).body).toEqual({
      local: [file, small],
      remote: ['mxc://other.test/theirs'],
    })
    expect((await admin('POST', `${path}/quarantine`)).body).toEqual({ num_quarantined: 2 })
    expect(await Promise.all(ids.map((id) => download(ann, id)))).toEqual([404, 404])
    expect(refused(await admin('GET', '/room/!no:here.example/media'))).toEqual([
      404,
      'M_NOT_FOUND',
    ])
  })
})

describe('the media of a user', () => {
  test('is listed in an order and in pages, and deleted', async () => {
    const ann = await home.person('ann')
    const ids: string[] = []
    for (const text of ['aaa', 'a', 'aa']) {
      ids.push(await at.upload(ann, `${content()}${text}`, { name: `${text}.png` }))
      home.now += 1000
    }
    const path = `/users/${ann.userId}/media`
    const list = async (query: string) => (await admin('GET', `${path}${query}`)).body
    const all = await list('')
    expect(all.total).toBe(3)
    expect(all.media.map((each: { media_id: string }) => each.media_id)).toEqual(ids.toReversed())
    expect(all.media[0]).toMatchObject({
      media_type: 'image/png',
      upload_name: 'aa.png',
      quarantined_by: null,
      safe_from_quarantine: false,
    })
    const page = await list('?order_by=upload_name&dir=f&limit=2')
    expect(page).toMatchObject({ next_token: 2, media: [{ upload_name: 'a.png' }, {}] })
    expect((await list('?order_by=upload_name&from=2')).media).toHaveLength(1)
    expect(refused(await admin('GET', `${path}?order_by=sha256`))).toEqual([400, 'M_INVALID_PARAM'])
    const gone = await admin('DELETE', `${path}?limit=1`)
    expect(gone.body).toEqual({ deleted_media: [ids[2]!], total: 1 })
    expect(await download(ann, ids[2]!)).toBe(404)
    expect(await download(ann, ids[0]!)).toBe(200)
    expect(refused(await admin('GET', '/users/@no:here.example/media'))).toEqual([
      404,
      'M_NOT_FOUND',
    ])
  })

  test('is summed up', async () => {
    const { userId, ...ann } = await home.person('sums')
    await at.upload({ userId, ...ann }, 'eleven chars')
    const { body } = await admin('GET', `/statistics/users/media?search_term=SUMS`)
    expect(body).toEqual({
      users: [{ user_id: userId, displayname: null, media_count: 1, media_length: 12 }],
      total: 1,
    })
    const order = '/statistics/users/media?order_by=nothing'
    expect(refused(await admin('GET', order))).toEqual([400, 'M_INVALID_PARAM'])
  })
})

describe('deletion', () => {
  test('takes one medium, and the bytes with the next sweep', async () => {
    const text = content()
    const id = await at.upload(root, text)
    const hash = createHash('sha256').update(text).digest('hex')
    expect((await admin('DELETE', `/media/${server}/${id}`)).body).toEqual({
      deleted_media: [id],
      total: 1,
    })
    expect(await download(root, id)).toBe(404)
    home.now += 7 * 24 * 3600 * 1000
    await at.sweep()
    expect((await at.files()).finished).not.toContain(hash)
    expect(refused(await admin('DELETE', `/media/${server}/${id}`))).toEqual([404, 'M_NOT_FOUND'])
    const remote = await admin('DELETE', '/media/other.test/x')
    expect(refused(remote)).toEqual([400, 'M_INVALID_PARAM'])
  })

  test('takes what is old and large, but for pictures of users', async () => {
    const ann = await home.person('ann')
    const [face, large, small] = [
      await at.upload(ann, `${content()}${'x'.repeat(200)}`),
      await at.upload(ann, `${content()}${'y'.repeat(200)}`),
      await at.upload(ann, content()),
    ]
    await ann.client.put(`/profile/${ann.userId}/avatar_url`, {
      avatar_url: `mxc://${server}/${face}`,
    })
    home.now += 1000
    const young = await at.upload(ann, `${content()}${'z'.repeat(200)}`)
    const query = `?before_ts=${home.now}&size_gt=100`
    const gone = await admin('POST', `/media/delete${query}`)
    expect(gone.body).toEqual({ deleted_media: [large], total: 1 })
    const all = [face, large, small, young].map((id) => download(ann, id))
    expect(await Promise.all(all)).toEqual([200, 404, 200, 200])
    const more = await admin('POST', `/media/${server}/delete${query}&keep_profiles=false`)
    expect(more.body.deleted_media).toEqual([face])
    for (const bad of ['', '?before_ts=1700000000', '?before_ts=x'])
      expect((await admin('POST', `/media/delete${bad}`)).status).toBe(400)
    const elsewhere = await admin('POST', `/media/other.test/delete${query}`)
    expect(refused(elsewhere)).toEqual([400, 'M_INVALID_PARAM'])
  })

  test('empties the cache of other servers’ media by last use', async () => {
    await db.pool`
      insert into media_files (sha256, bytes) values ('\\x01', 1), ('\\x02', 1)`
    await db.pool`
      insert into media (server_name, media_id, sha256, content_type, created_at, used_at) values
        ('other.test', 'old', '\\x01', '', 1, ${home.now - 1}),
        ('other.test', 'new', '\\x02', '', 1, ${home.now})`
    const purge = await admin('POST', `/purge_media_cache?before_ts=${home.now}`)
    expect(purge.body).toEqual({ deleted: 1 })
    const left = await db.pool`select media_id from media where server_name = 'other.test'`
    expect(left.map((row) => row['media_id'] as string)).toEqual(['new'])
    expect((await admin('POST', '/purge_media_cache?before_ts=5')).status).toBe(400)
  })
})
