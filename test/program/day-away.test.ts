import { expect, test } from 'bun:test'
import type { JsonObject } from '#core/json.ts'
import { buildKeyDocument } from '#core/server-keys.ts'
import { makeCertificates } from '#test/certificates.ts'
import { openTestDatabase } from '#test/database.ts'
import { Peer } from '#test/peer.ts'
import { type Person, Program, openFolder } from '#test/program/program.ts'
import { until } from '#test/until.ts'

const preload = new URL('./moved-clock.ts', import.meta.url).pathname
const enc = encodeURIComponent
const hour = 3_600_000
const day = 24 * hour

type Sync = {
  next_batch: string
  to_device?: { events: { content: { n: number } }[] }
  device_lists?: { changed?: string[] }
  rooms?: {
    invite?: Record<string, unknown>
    join?: Record<
      string,
      {
        timeline: { events: { event_id: string }[] }
        ephemeral: { events: { type: string; content: Record<string, JsonObject> }[] }
      }
    >
  }
}

/** What a user was told since a token, over as many answers as it takes to see it all. */
class Told {
  readonly #who: Person
  #since: string
  readonly toDevice: number[] = []
  readonly changed = new Set<string>()
  readonly invites = new Set<string>()
  readonly events: string[] = []
  readonly read = new Set<string>()

  constructor(who: Person, since: string) {
    this.#who = who
    this.#since = since
  }

  async more(): Promise<void> {
    const sync = await this.#who.ask<Sync>('GET', `sync?timeout=0&since=${this.#since}`)
    this.#since = sync.next_batch
    this.toDevice.push(...(sync.to_device?.events ?? []).map(({ content }) => content.n))
    for (const user of sync.device_lists?.changed ?? []) this.changed.add(user)
    for (const room of Object.keys(sync.rooms?.invite ?? {})) this.invites.add(room)
    for (const { timeline, ephemeral } of Object.values(sync.rooms?.join ?? {})) {
      this.events.push(...timeline.events.map((event) => event.event_id))
      for (const { type, content } of ephemeral.events)
        if (type === 'm.receipt') for (const id of Object.keys(content)) this.read.add(id)
    }
  }
}

test('what two servers have for each other comes whole after either was away for a day', async () => {
  await using database = await openTestDatabase()
  await using folder = await openFolder()
  const certificates = await makeCertificates(folder.path, ['here.test', 'peer.test'])
  const peer = new Peer('peer.test', certificates)
  await using program = await Program.prepare({
    database: database.url,
    preload,
    keys: 'server_name = "here.test"',
    sections: `[[listeners]]
port = 0
[[listeners]]
port = 0
serves = ["federation"]
[federation]
static_destinations = { "peer.test" = "${peer.address}" }
extra_ca = ["${certificates.ca}"]
retry_min_seconds = 0.1
retry_max_seconds = 1
`,
  })
  let ahead = 0
  const startAt = async (ms: number) => {
    ahead = ms
    await Bun.write(`${program.directory}/ahead`, String(ms))
    await program.start()
  }
  await startAt(0)
  try {
    const alice = await program.person('alice')
    const { user_id: aliceId, device_id: deviceId } = await alice.ask<Record<string, string>>(
      'GET',
      'account/whoami',
    )
    const ask = (method: 'PUT' | 'POST', path: string, body: JsonObject) =>
      peer.ask(program.urls[1]!, 'here.test', method, `/_matrix/federation/${path}`, body)
    const bob = peer.user('bob')
    const keys = { user_id: bob, device_id: 'B', algorithms: ['a'], keys: {}, signatures: {} }
    const device = { device_id: 'B', keys }
    let devices: { stream_id: number; devices: JsonObject[] } = { stream_id: 3, devices: [] }
    peer.handler = (_request, url) => {
      // As of a server whose clock goes with ours.
      if (url.pathname === '/_matrix/key/v2/server') {
        const validUntil = Date.now() + ahead + day
        return { status: 200, body: buildKeyDocument('peer.test', [peer.key], [], validUntil) }
      }
      if (url.pathname === '/_matrix/federation/v1/user/keys/query') {
        const listed = devices.devices.map((each) => [each['device_id'], each['keys']])
        return { status: 200, body: { device_keys: { [bob]: Object.fromEntries(listed) } } }
      }
      if (url.pathname !== `/_matrix/federation/v1/user/devices/${enc(bob)}`) return undefined
      return { status: 200, body: { user_id: bob, ...devices } }
    }
    const { room_id: roomId } = await alice.ask<{ room_id: string }>('POST', 'createRoom', {
      preset: 'public_chat',
      room_version: '11',
    })
    const room = await peer.join(program.urls[1]!, 'here.test', roomId, bob)
    const said = await (await alice.send(enc(roomId), 'before')).json()
    await until(async () => {
      const members = await alice.ask<{ joined: object }>(
        'GET',
        `rooms/${enc(roomId)}/joined_members`,
      )
      return Object.hasOwn(members.joined, bob)
    })
    const devicesOfBob = async () => {
      const body = { device_keys: { [bob]: [] } }
      const { device_keys: known } = await alice.ask<{ device_keys: Record<string, object> }>(
        'POST',
        'keys/query',
        body,
      )
      return Object.keys(known[bob] ?? {})
    }
    expect(await devicesOfBob()).toEqual([])
    const first = await alice.ask<Sync>('GET', 'sync')
    await program.end('SIGKILL')

    // Meanwhile the peer queues for us, and the first of two changes of bob's devices it has given up.
    devices = { stream_id: 5, devices: [device] }
    const events = [room.say(bob, 'one'), room.say(bob, 'two')]
    const edu = (type: string, content: JsonObject) => ({ edu_type: type, content })
    const toDevice = [0, 1, 2].map((n) =>
      edu('m.direct_to_device', {
        sender: bob,
        type: 'm.test',
        message_id: `m${n}`,
        messages: { [aliceId!]: { [deviceId!]: { n } } },
      }),
    )
    const list = { user_id: bob, stream_id: 5, prev_id: [4], ...device }
    const { event_id: read } = said as { event_id: string }
    const receipt = { [bob]: { event_ids: [read], data: { ts: Date.now() } } }
    const transaction = {
      origin: peer.serverName,
      origin_server_ts: Date.now(),
      pdus: events.map(({ pdu }) => pdu),
      edus: [
        ...toDevice,
        edu('m.device_list_update', list),
        edu('m.receipt', { [roomId]: { 'm.read': receipt } }),
      ],
    }
    const invite = room.version
    const inviting = peer.build(invite, {
      type: 'm.room.member',
      sender: bob,
      stateKey: aliceId!,
      content: { membership: 'invite' },
      roomId: '!elsewhere:peer.test',
      prevEvents: [events[0]!.eventId],
      authEvents: [events[1]!.eventId],
      depth: 5,
      originServerTs: Date.now(),
      named: undefined,
    })

    await startAt(day + hour)
    const told = new Told(alice, first.next_batch)
    // A repetition, as after a lost answer, doubles nothing.
    for (let time = 0; time < 2; time++) {
      const sent = await ask('PUT', 'v1/send/queued1', transaction)
      expect(sent).toEqual({
        status: 200,
        body: { pdus: Object.fromEntries(events.map(({ eventId }) => [eventId, {}])) },
      })
    }
    const invited = await ask(
      'PUT',
      `v2/invite/${enc('!elsewhere:peer.test')}/${enc(inviting.eventId)}`,
      { room_version: invite.id, event: inviting.pdu, invite_room_state: [] },
    )
    expect(invited.status).toBe(200)
    await until(async () => {
      await told.more()
      return told.events.length === 2 && told.invites.size > 0 && told.changed.has(bob)
    })
    await until(async () => (await devicesOfBob()).includes('B'))
    await until(async () => {
      await told.more()
      return told.toDevice.length >= 3 && told.read.size > 0
    })
    expect(told.toDevice).toEqual([0, 1, 2])
    expect(told.events).toEqual(events.map(({ eventId }) => eventId))
    expect([...told.read]).toEqual([read])
    expect([...told.invites]).toEqual(['!elsewhere:peer.test'])

    // The other way: the peer answers nothing, alice has more to tell it, and our server is away, too.
    const usual = peer.handler
    peer.handler = (request, url) =>
      url.pathname.includes('/v1/send/') ? { status: 502, body: {} } : usual(request, url)
    const before = peer.received.length
    const again = await program.logIn('alice', 'the password of alice')
    const { device_id: another } = (await again.json()) as { device_id: string }
    for (const n of [7, 8])
      await alice.ask('PUT', `sendToDevice/m.test/x${n}`, { messages: { [bob]: { B: { n } } } })
    const mine = (await (await alice.send(enc(roomId), 'while you were away')).json()) as {
      event_id: string
    }
    await program.end('SIGKILL')
    await startAt(ahead + day + hour)
    peer.handler = usual
    const got = () => peer.received.slice(before)
    const edus = (type: string) =>
      got()
        .flatMap((txn) => txn.edus)
        .filter((each) => each['edu_type'] === type)
        .map((each) => each['content'] as JsonObject)
    await until(
      () => edus('m.direct_to_device').length >= 2 && got().some(({ pdus }) => pdus.length > 0),
    )
    await until(() => edus('m.device_list_update').some((each) => each['device_id'] === another))
    expect(edus('m.direct_to_device').map(({ messages }) => messages)).toEqual(
      [7, 8].map((n) => ({ [bob]: { B: { n } } })),
    )
    expect(edus('m.device_list_update').map((each) => each['user_id'])).toEqual(
      edus('m.device_list_update').map(() => aliceId),
    )
    expect(mine.event_id).toStartWith('$')
  } finally {
    await peer.stop()
  }
})
