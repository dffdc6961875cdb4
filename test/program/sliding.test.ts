import { expect, test } from 'bun:test'
import { openTestDatabase } from '#test/database.ts'
import { type Person, Program } from '#test/program/program.ts'

type Answer = {
  pos: string
  extensions: {
    to_device: { next_batch: string; events?: { content: { n: number } }[] }
    e2ee: {
      device_one_time_keys_count: Record<string, number>
      device_unused_fallback_key_types?: string[]
    }
  }
}

/** A sliding sync of the two extensions that encryption cannot do without. */
async function slide(person: Person, at: { pos?: string; since?: string } = {}) {
  const path = '../unstable/org.matrix.simplified_msc3575/sync?timeout=0'
  const answer = await person.ask<Answer>('POST', path + (at.pos ? `&pos=${at.pos}` : ''), {
    conn_id: 'main',
    extensions: {
      to_device: { enabled: true, ...(at.since && { since: at.since }), limit: 3 },
      e2ee: { enabled: true },
    },
  })
  const { to_device: toDevice, e2ee } = answer.extensions
  return {
    pos: answer.pos,
    since: toDevice.next_batch,
    got: (toDevice.events ?? []).map(({ content }) => content.n),
    counts: e2ee.device_one_time_keys_count,
    fallback: e2ee.device_unused_fallback_key_types,
  }
}

const tell = (from: Person, to: string, deviceId: string, n: number) =>
  from.ask('PUT', `sendToDevice/m.test/t${n}`, { messages: { [to]: { [deviceId]: { n } } } })

test('after a kill messages to a device come once, by what the client acknowledged, with the right counts of keys', async () => {
  await using database = await openTestDatabase()
  await using program = await Program.start({ database: database.url })
  const [alice, bob] = [await program.person('alice'), await program.person('bob')]
  const { user_id: userId, device_id: deviceId } = await alice.ask<Record<string, string>>(
    'GET',
    'account/whoami',
  )
  const key = (n: number) => [`curve25519:K${n}`, `k${n}`]
  await alice.ask('POST', 'keys/upload', {
    one_time_keys: Object.fromEntries([0, 1, 2, 3].map(key)),
    fallback_keys: { 'curve25519:F': 'f' },
  })
  for (const n of [0, 1, 2, 3, 4]) await tell(bob, userId!, deviceId!, n)
  const first = await slide(alice)
  expect(first).toMatchObject({
    got: [0, 1, 2],
    counts: { curve25519: 4 },
    fallback: ['curve25519'],
  })
  const claim = () =>
    bob.ask('POST', 'keys/claim', {
      one_time_keys: { [userId!]: { [deviceId!]: 'curve25519' } },
    })
  await claim()
  await tell(bob, userId!, deviceId!, 5)

  await program.end('SIGKILL')
  await program.start()
  // The answer was lost on its way: the client has acknowledged nothing, and gets the same again. Its
  // place is gone with the memory of the server, which says so.
  const unknown = await alice.request(
    'POST',
    `../unstable/org.matrix.simplified_msc3575/sync?pos=${first.pos}`,
    { conn_id: 'main' },
  )
  expect([unknown.status, ((await unknown.json()) as { errcode: string }).errcode]).toEqual([
    400,
    'M_UNKNOWN_POS',
  ])
  const again = await slide(alice)
  expect(again).toMatchObject({
    got: [0, 1, 2],
    counts: { curve25519: 3 },
    fallback: ['curve25519'],
  })

  // Acknowledged, and killed before the next answer.
  const second = await slide(alice, again)
  expect(second.got).toEqual([3, 4, 5])
  for (let keys = 3; keys >= 0; keys--) await claim()
  await program.end('SIGKILL')
  await program.start()
  const third = await slide(alice, { since: second.since })
  expect(third.got).toEqual([])
  // What was claimed is not given out twice: the last claim took the fallback key.
  expect([third.counts['curve25519'] ?? 0, third.fallback]).toEqual([0, []])
  await tell(bob, userId!, deviceId!, 6)
  // A transaction that is repeated is no second message.
  await tell(bob, userId!, deviceId!, 6)
  const fourth = await slide(alice, third)
  expect(fourth.got).toEqual([6])

  await program.end('SIGKILL')
  await program.start()
  // An old acknowledgement brings nothing back that a newer one has settled.
  expect((await slide(alice, { since: fourth.since })).got).toEqual([])
  expect((await slide(alice)).got).toEqual([])
  expect(await program.complaints()).toEqual([])
})
