import { expect, test } from 'bun:test'
import { readdir, utimes } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { openTestDatabase } from '#test/database.ts'
import { Program, until } from '#test/program/program.ts'

test('a server that is killed in the middle of uploads serves none of them by halves', async () => {
  await using database = await openTestDatabase()
  await using program = await Program.start({ database: database.url })
  await program.person('alice')
  const login = await program.logIn('alice', 'the password of alice')
  const { access_token: token } = (await login.json()) as { access_token: string }
  const headers = { authorization: `Bearer ${token}` }
  const media = join(program.directory, 'data/media')
  const incoming = () => readdir(join(media, 'incoming')).catch(() => [])
  const finished = async () =>
    (await readdir(join(media, 'files'), { recursive: true })).filter((path) =>
      /\w{64}$/.test(path),
    )

  const whole = await program.fetch('/_matrix/media/v3/upload', {
    method: 'POST',
    headers,
    body: 'all of it',
  })
  const { content_uri: uri } = (await whole.json()) as { content_uri: string }
  const created = await program.fetch('/_matrix/media/v1/create', { method: 'POST', headers })
  const { content_uri: later } = (await created.json()) as { content_uri: string }
  const pathOf = (mxc: string) => `/_matrix/client/v1/media/download/${mxc.slice('mxc://'.length)}`

  // Two uploads, each of half of what it says that it brings.
  const { port } = new URL(program.url)
  const begin = (line: string) => {
    const socket = connect(Number(port), '127.0.0.1')
    // The server goes away under it.
    socket.on('error', () => {})
    socket.write(
      `${line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n` +
        `Content-Length: 200000\r\n\r\n${'x'.repeat(100_000)}`,
    )
    return socket
  }
  const put = `/_matrix/media/v3/upload/${later.slice('mxc://'.length)}`
  const sockets = [begin('POST /_matrix/media/v3/upload'), begin(`PUT ${put}`)]
  await until('the beginning of both', async () => (await incoming()).length === 2)
  await program.end('SIGKILL')
  for (const socket of sockets) socket.destroy()

  const left = await incoming()
  expect(left).toHaveLength(2)
  // So long ago that nobody can be writing them.
  const past = new Date(Date.now() - 48 * 3600_000)
  for (const name of left) await utimes(join(media, 'incoming', name), past, past)
  await program.start()
  await until('the end of what was left behind', async () => (await incoming()).length === 0)
  expect(await finished()).toHaveLength(1)
  expect(await (await program.fetch(pathOf(uri), { headers })).text()).toBe('all of it')
  const early = await program.fetch(`${pathOf(later)}?timeout_ms=0`, { headers })
  expect(early.status).toBe(504)
  const again = await program.fetch(put, { method: 'PUT', headers, body: 'now all of it' })
  expect(again.status).toBe(200)
  expect(await (await program.fetch(pathOf(later), { headers })).text()).toBe('now all of it')
  expect(await program.end()).toBe(0)
})

test('images are decoded in a thread that ends with the server', async () => {
  await using database = await openTestDatabase()
  await using program = await Program.start({ database: database.url })
  await program.person('alice')
  const login = await program.logIn('alice', 'the password of alice')
  const { access_token: token } = (await login.json()) as { access_token: string }
  const headers = { authorization: `Bearer ${token}` }
  // One red pixel.
  const gif = Buffer.from('R0lGODdhAQABAIAAAP8AAAAAACwAAAAAAQABAAACAkQBADs=', 'base64')
  const uploaded = await program.fetch('/_matrix/media/v3/upload', {
    method: 'POST',
    headers,
    body: gif,
  })
  const { content_uri: uri } = (await uploaded.json()) as { content_uri: string }
  const path = `/_matrix/client/v1/media/thumbnail/${uri.slice('mxc://'.length)}?width=32&height=32`
  const thumbnail = await program.fetch(path, { headers })
  expect(thumbnail.headers.get('content-type')).toBe('image/gif')
  expect(Buffer.from(await thumbnail.arrayBuffer()).equals(gif)).toBe(true)
  expect(await program.end()).toBe(0)
  expect(await program.complaints()).toEqual([])
})
