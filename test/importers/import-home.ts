import { afterAll } from 'bun:test'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { makeCertificates } from '#test/certificates.ts'
import { openTestDatabase } from '#test/database.ts'
import { newFolder } from '#test/folder.ts'
import { freePorts, Laneway } from '#test/laneway.ts'

/**
 * A server that things are imported into, with an administrator, and a folder for exports and plans, until the
 * calling file's last test. Call it at the top of the file: `const { server, admin } = await importHome('name')`.
 */
export async function importHome(name: string) {
  const folder = await newFolder(name)
  const database = await openTestDatabase()
  const [tls, client] = await freePorts(2)
  const server = await Laneway.prepare(join(folder, 'server'), {
    ports: { tls: tls!, client: client! },
    certificates: await makeCertificates(folder, ['home.test']),
    serverName: 'home.test',
    databaseUrl: database.url,
  })
  afterAll(async () => {
    await server.stop()
    await database.close()
    await rm(folder, { recursive: true, force: true })
  })
  await server.start()
  const admin = await server.register('admin', true)
  const joinedRooms = async () =>
    (await admin.get<{ joined_rooms: string[] }>('/_matrix/client/v3/joined_rooms')).joined_rooms
  return { folder, server, admin, joinedRooms }
}

export const roomPath = (roomId: string) => `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}`
