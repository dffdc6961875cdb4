import { expect, test } from 'bun:test'
import { makeCertificates } from '#test/certificates.ts'
import { openTestDatabase } from '#test/database.ts'
import { Program, openFolder } from '#test/program/program.ts'

const listener = (lines: string) => `[[listeners]]\nport = 0\n${lines}\n`

test('a listener with a certificate answers HTTPS', async () => {
  await using folder = await openFolder()
  const { ca, certificate, key } = await makeCertificates(folder.path)
  await using database = await openTestDatabase()
  await using program = await Program.start({
    database: database.url,
    sections: listener(`tls = { certificate = "${certificate}", key = "${key}" }`),
  })
  expect(program.url).toStartWith('https://')
  const asked = (authority: string) =>
    program.fetch('/_matrix/client/versions', { tls: { ca: authority } } as RequestInit)
  const response = await asked(await Bun.file(ca).text())
  expect([response.status, await response.json()]).toMatchObject([
    200,
    { versions: expect.arrayContaining(['r0.6.1', 'v1.1']) },
  ])
  await expect(program.fetch('/_matrix/client/versions')).rejects.toThrow()
  expect(
    (await program.logIn('alice', 'x', { tls: { ca: await Bun.file(ca).text() } } as RequestInit))
      .status,
  ).toBe(403)
})

test('a listener answers what it serves, and nothing else', async () => {
  await using database = await openTestDatabase()
  await using program = await Program.start({
    database: database.url,
    sections: [
      listener('serves = ["client"]'),
      listener('serves = ["federation"]'),
      listener('serves = ["admin"]'),
    ].join(''),
  })
  const paths = [
    '/_matrix/client/versions',
    '/_matrix/federation/v1/version',
    '/_matrix/key/v2/server',
    '/_synapse/admin/v1/register',
  ]
  const found = await Promise.all(
    program.urls.map((url) =>
      Promise.all(
        paths.map(async (path) => {
          const response = await program.fetch(path, { url })
          const { errcode } = (await response.json()) as { errcode?: string }
          return errcode !== 'M_UNRECOGNIZED'
        }),
      ),
    ),
  )
  expect(found).toEqual([
    [true, false, false, false],
    [false, true, true, false],
    [false, false, false, true],
  ])
})

test('a server that federates with nobody answers no other server', async () => {
  await using database = await openTestDatabase()
  await using program = await Program.start({
    database: database.url,
    sections: '[federation]\nenabled = false\n',
  })
  expect((await program.fetch('/_matrix/key/v2/server')).status).toBe(404)
  expect((await program.fetch('/_matrix/federation/v1/version')).status).toBe(404)
  expect((await program.fetch('/_matrix/client/versions')).status).toBe(200)
})

test('X-Forwarded-For is believed from trusted proxies only', async () => {
  await using database = await openTestDatabase()
  await using program = await Program.start({
    database: database.url,
    sections: `${listener('trusted_proxies = ["127.0.0.1"]')}${listener('trusted_proxies = []')}
[rate_limits.login]
per_second = 0.001
burst = 2
`,
  })
  const [proxied, open] = program.urls as [string, string]
  const statuses = async (url: string, addresses: string[]) => {
    const found: number[] = []
    for (const address of addresses) {
      const headers = { 'x-forwarded-for': address }
      found.push((await program.logIn('nobody', 'x', { url, headers })).status)
    }
    return found
  }
  // Each address behind the proxy has a budget of its own; what it claims itself changes nothing.
  expect(await statuses(proxied, ['198.51.100.1', '198.51.100.1', '198.51.100.1'])).toEqual([
    403, 403, 429,
  ])
  expect(await statuses(proxied, ['9.9.9.9, 198.51.100.1', '198.51.100.2'])).toEqual([429, 403])
  // Here the header is anybody's invention: all are 127.0.0.1.
  expect(await statuses(open, ['198.51.100.3', '198.51.100.4', '198.51.100.5'])).toEqual([
    403, 403, 429,
  ])
})
