import { expect, test } from 'bun:test'
import { parsePdu } from '#core/event/check.ts'
import { checkEventSignatures } from '#core/event/signatures.ts'
import { roomVersions } from '#core/room-version.ts'
import { checkKeyDocument } from '#core/server-keys.ts'
import { openTestDatabase } from '#test/database.ts'
import { Program, run } from '#test/program/program.ts'

/** The key document that the server answers, checked as another server checks it. */
async function keysOf(program: Program) {
  const response = await program.fetch('/_matrix/key/v2/server')
  const json = (await response.json()) as { verify_keys: object; old_verify_keys: object }
  const document = checkKeyDocument(json, 'localhost')
  if (typeof document === 'string') throw new Error(document)
  return {
    current: Object.keys(json.verify_keys),
    old: Object.keys(json.old_verify_keys),
    keys: document.keys,
  }
}

test('a signing key is replaced at the next start, and what the old one has signed stays good', async () => {
  await using database = await openTestDatabase()
  await using program = await Program.start({ database: database.url })
  const rotate = () => run(['key', 'rotate', '--config', program.config])
  const alice = await program.person('alice')
  const room = await alice.makeRoom()
  await alice.send(room, 'signed by the first')
  const first = await keysOf(program)
  expect(first.current).toHaveLength(1)
  const [before] = first.current

  const said = await rotate()
  expect(said).toEqual({
    code: 0,
    out: `The next start makes a new signing key. Until then ${before} signs; what it signed stays good\n`,
    errors: '',
  })
  // A server that runs goes on with its key: other servers would not believe it otherwise.
  expect((await keysOf(program)).current).toEqual([before!])
  await alice.send(room, 'signed by the first, too')
  await program.end()
  // Asked for twice, it happens once.
  expect((await rotate()).code).toBe(0)

  await program.start()
  const second = await keysOf(program)
  const [after] = second.current
  expect(after).not.toBe(before)
  expect(second).toMatchObject({ current: [after], old: [before] })
  await alice.send(room, 'signed by the second')

  // Every event, as another server judges it by the new document alone.
  const rows = await database.pool<{ version: string; json: string }[]>`
    select r.version, j.json from event_json j
    join events e using (shard, event_nid) join rooms r using (shard, room_nid)
    order by e.position`
  const signers = rows.map(({ version, json }) => {
    const pdu = JSON.parse(json) as Record<string, never>
    const parsed = parsePdu(roomVersions.get(version)!, pdu, { roomId: decodeURIComponent(room) })
    if ('refused' in parsed) throw new Error(parsed.refused)
    const verdict = checkEventSignatures(
      parsed.ok,
      (_server, keyId) => second.keys.get(keyId),
      Date.now(),
    )
    expect(verdict).toEqual({ outcome: 'valid' })
    return Object.keys(pdu['signatures']!['localhost'])[0]
  })
  expect(signers.at(-2)).toBe(before)
  expect(signers.at(-1)).toBe(after)

  await program.end()
  await program.start()
  expect((await keysOf(program)).current).toEqual([after!])
  expect(await alice.messages(room)).toEqual([
    'signed by the first',
    'signed by the first, too',
    'signed by the second',
  ])
  expect(await program.complaints()).toEqual([])
})

test('a server that never started has no key to replace', async () => {
  await using program = await Program.prepare()
  const { code, out } = await run(['key', 'rotate', '--config', program.config])
  expect([code, out]).toEqual([0, 'There is no signing key yet: the first start makes one\n'])
  const unknown = await run(['key', 'turn', '--config', program.config])
  expect(unknown.code).toBe(1)
})
