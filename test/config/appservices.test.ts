import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { loadAppservices } from '#src/config/appservices.ts'
import { StartupError } from '#store/startup-error.ts'
import { newFolder } from '#test/folder.ts'

const folder = await newFolder('appservices')

async function write(name: string, text: string): Promise<string> {
  const path = join(folder, name)
  await Bun.write(path, text)
  return path
}

const yaml = (id: string, token: string) => `
id: "${id}"
url: "http://127.0.0.1:1234"
as_token: "${token}"
hs_token: "hs"
sender_localpart: "_irc_bot" # @_irc_bot:here.example
namespaces:
  users:
    - exclusive: true
      regex: "@_irc_.*"
  rooms: []
`

const load = (...files: string[]) =>
  loadAppservices({ server_name: 'here.example', appservices: { files } })

async function messageOf(...files: string[]): Promise<string> {
  const error: unknown = await load(...files).catch((thrown: unknown) => thrown)
  if (!(error instanceof StartupError)) throw new Error('It was not refused')
  return error.message
}

test('without files there is no application service', async () => {
  expect((await load()).all).toEqual([])
})

test('every file is an application service', async () => {
  const { all, byToken } = await load(
    await write('a.yaml', yaml('a', 'as-a')),
    await write('b.yaml', yaml('b', 'as-b')),
  )
  expect(all.map(({ id, sender }) => [id, sender])).toEqual([
    ['a', '@_irc_bot:here.example'],
    ['b', '@_irc_bot:here.example'],
  ])
  expect(byToken.get('as-b')?.id).toBe('b')
})

test('an ID or a token of another file is refused, the token not shown', async () => {
  const a = await write('a.yaml', yaml('a', 'secret'))
  const b = await write('b.yaml', yaml('b', 'secret'))
  const c = await write('c.yaml', yaml('a', 'other'))
  const message = await messageOf(a, b, c)
  expect(message).toBe(
    `The registrations of application services (appservices.files) have 2 faults:
  ${b}: as_token: is that of ${a} too
  ${c}: id: is that of ${a} too`,
  )
})

test('all faults of all files are one message', async () => {
  const broken = await write('broken.yaml', 'id: "x')
  const empty = await write('empty.yaml', '')
  const number = await write('number.yaml', `${yaml('n', 'n')}\nrate_limited: 1`)
  const message = await messageOf(broken, empty, number, join(folder, 'none.yaml'))
  const lines = message.split('\n')
  expect(lines[0]).toContain('have 4 faults')
  expect(lines[1]).toStartWith(`  ${broken}: is not YAML: `)
  expect(lines[2]).toBe(`  ${empty}: it is no table of keys and values`)
  expect(lines[3]).toBe(`  ${number}: rate_limited: must be true or false`)
  expect(lines[4]).toStartWith(`  ${join(folder, 'none.yaml')}: cannot be read: ENOENT`)
})
