import { expect, test } from 'bun:test'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { withDatabase } from '#store/db.ts'
import { makeCertificates } from '#test/certificates.ts'
import { openTestDatabase } from '#test/database.ts'
import { freePorts } from '#test/ports.ts'
import { type Ended, Program, processesOf, run } from '#test/program/program.ts'

/** Why a server does not start: one message on stderr, the same in the log, exit 1, nothing left. */
async function refusal(program: Program, env: Record<string, string> = {}): Promise<string> {
  const ended = await run(['--config', program.config], { cwd: program.directory, env })
  const message = saidOnce(ended)
  const log = await program.log()
  const fatal = log.filter(({ level }) => level === 'fatal')
  expect(fatal.map(({ msg }) => msg)).toEqual([`the server does not start: ${message}`])
  expect(log.filter(({ level }) => level === 'error')).toEqual([])
  expect(processesOf(program.directory)).toEqual([])
  return message
}

function saidOnce({ code, out, errors }: Ended): string {
  expect([code, out]).toEqual([1, ''])
  const [, message] = /^laneway: ([\s\S]*)\n$/.exec(errors) ?? []
  expect(message, errors).toBeDefined()
  expect(message).not.toMatch(/laneway: |^ +at /m)
  return message!
}

test('every fault of the configuration is told at once, with the name that was meant', async () => {
  await using program = await Program.prepare({
    keys: 'server_nam = "example.org"\nzebra = 1',
    sections: '[federation]\nenabled = "yes"\nrequest_timeout_secnds = 3\n',
  })
  const message = await refusal(program, { LANEWAY_LOG_LEVLE: 'debug' })
  expect(message.split('\n').slice(1).sort()).toEqual([
    '  LANEWAY_LOG_LEVLE: no such option; did you mean LANEWAY_LOG_LEVEL?',
    '  federation.enabled: must be true or false, not "yes"',
    '  federation.request_timeout_secnds: no such option; did you mean request_timeout_seconds?',
    '  server_nam: no such option; did you mean server_name?',
    '  zebra: no such option',
  ])
  expect(message).toContain('has 5 faults')
})

test('a configuration that is named must be there', async () => {
  const ended = await run(['--config', 'nowhere.toml'])
  expect(ended.code).toBe(1)
  expect(ended.errors).toMatch(/^laneway: The configuration nowhere\.toml cannot be read: ENOENT/)
  // The log is where it would be: on standard output.
  expect(ended.out).toContain('The configuration nowhere.toml cannot be read')
})

test('a port that is taken is named', async () => {
  using other = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: () => new Response() })
  await using database = await openTestDatabase()
  await using program = await Program.prepare({
    database: database.url,
    sections: `[[listeners]]\nport = ${other.port}\n`,
  })
  expect(await refusal(program)).toBe(
    `Cannot listen on 127.0.0.1:${other.port}: another program listens there`,
  )
})

test('an address that is not of this machine is named', async () => {
  await using database = await openTestDatabase()
  await using program = await Program.prepare({
    database: database.url,
    sections: '[[listeners]]\naddress = "192.0.2.1"\nport = 0\n',
  })
  expect(await refusal(program)).toBe(
    'Cannot listen on 192.0.2.1:0: the address is not of this machine',
  )
})

test('a data directory that cannot be written is named', async () => {
  await using program = await Program.prepare()
  const place = join(program.directory, 'file')
  await Bun.write(place, 'not a folder')
  const message = await refusal(program, { LANEWAY_DATA_DIR: join(place, 'data') })
  expect(message).toStartWith(`The data directory ${place}/data cannot be written: ENOTDIR`)
})

test('a second server on the same data directory is refused, and the first goes on', async () => {
  await using first = await Program.start()
  const second = await run(['--config', first.config], { env: { LANEWAY_LOG_FILE: '/dev/null' } })
  expect(saidOnce(second)).toContain(`${first.directory}/data`)
  expect((await first.fetch('/_matrix/client/versions')).status).toBe(200)
})

test('a database that cannot be reached is told', async () => {
  await using program = await Program.prepare()
  const [closed] = await freePorts(1)
  const message = await refusal(program, {
    DATABASE_URL: `postgres://laneway@127.0.0.1:${closed}/laneway`,
  })
  expect(message).toStartWith('The database cannot be reached: ')
  expect(message).toEndWith('Check [database] url, or DATABASE_URL.')
})

test('a database that does not exist is told', async () => {
  await using database = await openTestDatabase()
  await using program = await Program.prepare()
  const url = withDatabase(database.url, 'nowhere_at_all')
  expect(await refusal(program, { DATABASE_URL: url })).toContain(
    'database "nowhere_at_all" does not exist',
  )
})

test('a database that is too new is refused with the releases that would work', async () => {
  await using database = await openTestDatabase()
  await database.pool`
    insert into schema_version (version, compat, name, release)
    values (9000, 9000, 'later', '9.1.0')`
  await using program = await Program.prepare()
  const message = await refusal(program, { DATABASE_URL: database.url })
  expect(message).toStartWith('The database is too new for this Laneway: it has schema 9000')
  expect(message).toEndWith('Releases from 9.1.0 on would work.')
})

test('a database of another server is refused', async () => {
  await using database = await openTestDatabase()
  await database.pool`insert into settings (name, value) values ('server_name', 'other.example')`
  await using program = await Program.prepare()
  const message = await refusal(program, { DATABASE_URL: database.url })
  expect(message).toStartWith(
    'The database belongs to the server other.example, and server_name is localhost.',
  )
})

test('a certificate that is none, and one of another key, are refused', async () => {
  await using database = await openTestDatabase()
  await using program = await Program.prepare({ database: database.url })
  const [one, other] = await Promise.all(
    ['one', 'other'].map((name) => makeCertificates(join(program.directory, name))),
  )
  const pem = join(program.directory, 'pem')
  await Bun.write(pem, 'nothing of the kind')
  const listen = async (certificate: string, key: string) => {
    const tls = `tls = { certificate = "${certificate}", key = "${key}" }`
    const sections = `[[listeners]]\nport = 0\n${tls}\n`
    await program.configure({ database: database.url, sections })
    await rm(join(program.directory, 'log'), { force: true })
    return refusal(program)
  }
  const { certificate } = one!
  expect(await listen(pem, pem)).toBe(
    `Cannot use ${pem} and ${pem} on 127.0.0.1:0: they are not a certificate and a key in PEM`,
  )
  expect(await listen(certificate, pem)).toContain(`Cannot use ${certificate} and ${pem} on`)
  expect(await listen(certificate, other!.key)).toBe(
    `Cannot use ${certificate} and ${other!.key} on 127.0.0.1:0: the key is not that of the certificate`,
  )
  expect(await listen(certificate, '/nowhere/key.pem')).toContain(
    'listeners.0.tls.key: the file /nowhere/key.pem cannot be read',
  )
})

test('a certificate authority that is none is refused', async () => {
  await using database = await openTestDatabase()
  await using program = await Program.prepare({ database: database.url })
  const sections = `[federation]\nextra_ca = ["${program.config}"]\n`
  await program.configure({ database: database.url, sections })
  expect(await refusal(program)).toBe(
    `${program.config} of federation.extra_ca is not a certificate in PEM`,
  )
})

test('a log that cannot be written is told once', async () => {
  await using program = await Program.prepare()
  const ended = await run(['--config', program.config], {
    env: { LANEWAY_LOG_FILE: join(program.config, 'log') },
  })
  expect(ended.code).toBe(1)
  expect(ended.errors).toMatch(/^laneway: The log \S+ cannot be written: .*\n$/)
})
