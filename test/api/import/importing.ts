import { afterAll } from 'bun:test'
import { SigningKey } from '#core/signing.ts'
import { RoomEngine } from '#engine/room/engine.ts'
import { MadeUpFederation } from '#test/builders.ts'
import type { Answer, Client } from '#test/client.ts'
import type { TestDatabase } from '#test/database.ts'
import { appservices } from '#test/api/client-server/bridge.ts'
import { Home, type Person } from '#test/api/client-server/home.ts'

export const path = '/_laneway/import/v1/sessions'
export const encoded = encodeURIComponent

/** A server for clients with real rooms, into which history is imported. */
export async function openImporting(db: TestDatabase): Promise<{
  home: Home
  root: Person
  restart: () => Promise<void>
}> {
  const home = await Home.open(db, {
    appservices,
    config: { registration: { enabled: true, dummy: true } },
  })
  const begin = () =>
    RoomEngine.start({
      pool: db.pool,
      shards: Array.from({ length: 64 }, (_, shard) => shard),
      owner: crypto.randomUUID(),
      signing: { serverName: home.ctx.serverName, key: new SigningKey('a', new Uint8Array(32)) },
      federation: new MadeUpFederation(),
      onSignal: (signal) => {
        if (signal.s !== 'rooms-at') return
        home.story.positions.advanceRooms(signal.positions)
        home.story.eventIndex.tell()
      },
      onError: (error, what) => console.error(what, error),
      onFatal: (error) => console.error(error),
    })
  let engine = await begin()
  home.roomAnswers = {
    send: (...args) => engine.send(...args),
    create: (...args) => engine.create(...args),
    join: (...args) => engine.join(...args),
    changeMembership: (...args) => engine.changeMembership(...args),
    importHistory: (...args) => engine.importHistory(...args),
    backfill: async () => 0,
  }
  await home.story.eventIndex.start()
  afterAll(async () => {
    await engine.stop()
    await home.story.eventIndex.stop()
  })
  return {
    home,
    root: await home.person('root', { admin: true }),
    restart: async () => {
      await engine.stop()
      engine = await begin()
    },
  }
}

export const told = ({ status, body }: Answer) => [status, body?.errcode]

export const say = (person: Person, roomId: string, body: string): Promise<Answer> =>
  person.client.put(`/rooms/${encoded(roomId)}/send/m.room.message/${crypto.randomUUID()}`, {
    msgtype: 'm.text',
    body,
  })

export async function makeRoom(person: Person, more: object = {}): Promise<string> {
  const { body } = await person.client.post('/createRoom', { preset: 'public_chat', ...more })
  return body.room_id
}

/** Everything that a user reads in a room, oldest first, in pages of some size. */
export async function readAll(
  client: Client,
  roomId: string,
  { limit, dir = 'b', from }: { limit: number; dir?: 'b' | 'f'; from?: string },
): Promise<any[]> {
  const events: any[] = []
  for (let at = from, first = true; first || at !== undefined; first = false) {
    const query = `dir=${dir}&limit=${limit}${at === undefined ? '' : `&from=${encoded(at)}`}`
    const { status, body } = await client.get(`/rooms/${encoded(roomId)}/messages?${query}`)
    if (status !== 200) throw new Error(JSON.stringify(body))
    events.push(...body.chunk)
    at = body.end
    if (dir === 'f' && body.chunk.length === 0) break
  }
  return dir === 'b' ? events.reverse() : events
}

/** The texts of what was said. */
export const texts = (events: readonly any[]): string[] =>
  events.flatMap(({ type, content }) => (type === 'm.room.message' ? [content.body ?? ''] : []))

/** Sends records in one batch and commits; the session. */
export async function importAll(
  client: Client,
  wish: object,
  batch: { records: readonly object[]; people?: readonly object[] },
): Promise<string> {
  const { body } = await client.post(path, { source: 'gitter', ...wish })
  if (!body.session_id) throw new Error(JSON.stringify(body))
  const sent = await client.put(`${path}/${body.session_id}/batches/0`, batch)
  if (sent.status !== 200 || sent.body.failed.length > 0) throw new Error(JSON.stringify(sent.body))
  const done = await client.post(`${path}/${body.session_id}/commit`)
  if (done.status !== 200) throw new Error(JSON.stringify(done.body))
  return body.session_id
}
