import { afterAll, beforeAll, expect, test } from 'bun:test'
import { rm } from 'node:fs/promises'
import type { RoomEvent } from '#core/event/pdu.ts'
import { makeCertificates } from '#test/certificates.ts'
import { Laneway, type Login, freePorts } from '#test/laneway.ts'
import { Peer, type PeerRoom } from '#test/peer.ts'
import { newFolder } from '#test/folder.ts'
import { until } from '#test/until.ts'

const rounds = Number(process.env['LANEWAY_KILLS'] ?? 50)

let directory: string
let laneway: Laneway
let peer: Peer

beforeAll(async () => {
  directory = await newFolder('kill')
  const certificates = await makeCertificates(`${directory}/certificates`, ['peer.test'])
  process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0'
  peer = new Peer('peer.test', certificates)
  const [tls, client] = await freePorts(2)
  laneway = await Laneway.prepare(`${directory}/laneway`, {
    ports: { tls: tls!, client: client! },
    certificates,
    staticDestinations: { 'peer.test': peer.address },
  })
  await laneway.start()
}, 120_000)

afterAll(async () => {
  await laneway?.stop()
  await peer?.stop()
  await rm(directory, { recursive: true, force: true })
}, 120_000)

test('a long poll is answered when its time is over, however long nothing is said on the line', async () => {
  const carol = await laneway.register('carol')
  const { next_batch: since } = await carol.get<{ next_batch: string }>('/_matrix/client/v3/sync')
  // The runtime would cut a quiet line after ten seconds.
  const path = `/_matrix/client/v3/sync?since=${since}&timeout=12000`
  const { status } = await carol.request('GET', path)
  expect(status).toBe(200)
}, 120_000)

test(
  `killed ${rounds} times, the server has everything that it acknowledged, once`,
  async () => {
    const alice = await laneway.register('alice')
    const { room_id: roomId } = await alice.ask<{ room_id: string }>(
      'POST',
      '/_matrix/client/v3/createRoom',
      { preset: 'public_chat', room_version: '11' },
    )
    const bob = peer.user('bob')
    const room = await peer.join(laneway.federationUrl, laneway.serverName, roomId, bob)
    const local = new LocalSender(alice, roomId)
    const remote = new RemoteSender(peer, laneway, room, bob)

    for (let round = 1; round <= rounds; round++) {
      const pulling = new AbortController()
      const work = Promise.all([local.run(pulling.signal), remote.run(pulling.signal)])
      await Bun.sleep(100 + Math.random() * 300)
      const killed = laneway.stop('SIGKILL')
      pulling.abort()
      await Promise.all([killed, work])
      await laneway.start()
      // Nothing new is sent: what was acknowledged must appear by itself.
      await untilRead(alice, roomId, remote.acknowledged.slice(-100))
    }

    // What was under way at the last kill gets its second try, like all before.
    const once = new AbortController()
    const work = Promise.all([local.run(once.signal), remote.run(once.signal)])
    await Bun.sleep(500)
    once.abort()
    await work
    await untilRead(alice, roomId, remote.acknowledged.slice(-100))

    const history = await alice.history(roomId)
    const ids = history.map((event) => event.event_id)
    expect(new Set(ids).size).toBe(ids.length)
    const seen = new Set(ids)
    expect(remote.acknowledged.filter((id) => !seen.has(id))).toEqual([])
    expect([...local.acknowledged.values()].filter((id) => !seen.has(id))).toEqual([])
    const bodies = history
      .map((event) => event.content['body'])
      .filter((body) => body !== undefined)
    expect(new Set(bodies).size).toBe(bodies.length)
    console.log(
      `${rounds} kills; ${local.acknowledged.size} local and ${remote.acknowledged.length} remote events acknowledged`,
    )
  },
  (rounds + 2) * 60_000,
)

/** Sends messages of a local user, four at a time; what gets no answer is sent again under its txnId. */
class LocalSender {
  readonly acknowledged = new Map<string, string>()
  readonly #login: Login
  readonly #roomId: string
  #next = 0
  #unanswered: string[] = []

  constructor(login: Login, roomId: string) {
    this.#login = login
    this.#roomId = roomId
  }

  async run(end: AbortSignal): Promise<void> {
    const open = this.#unanswered
    this.#unanswered = []
    const lane = async () => {
      while (!end.aborted) {
        const txnId = open.shift() ?? `local-${++this.#next}`
        if (!(await this.#send(txnId))) return
      }
    }
    await Promise.all(Array.from({ length: 4 }, lane))
    this.#unanswered.push(...open)
  }

  async #send(txnId: string): Promise<boolean> {
    try {
      const { event_id } = await this.#login.ask<{ event_id: string }>(
        'PUT',
        `/_matrix/client/v3/rooms/${encodeURIComponent(this.#roomId)}/send/m.room.message/${txnId}`,
        { msgtype: 'm.text', body: txnId },
      )
      this.acknowledged.set(txnId, event_id)
      return true
    } catch {
      this.#unanswered.push(txnId)
      return false
    }
  }
}

/** Sends transactions of five events; one that gets no answer is repeated as it was. */
class RemoteSender {
  readonly acknowledged: string[] = []
  readonly #peer: Peer
  readonly #laneway: Laneway
  readonly #room: PeerRoom
  readonly #sender: string
  #count = 0
  #open: { txnId: string; events: RoomEvent[] } | undefined

  constructor(peer: Peer, laneway: Laneway, room: PeerRoom, sender: string) {
    this.#peer = peer
    this.#laneway = laneway
    this.#room = room
    this.#sender = sender
  }

  async run(end: AbortSignal): Promise<void> {
    while (!end.aborted) {
      this.#open ??= {
        txnId: `txn-${++this.#count}`,
        events: Array.from({ length: 5 }, (_, i) =>
          this.#room.say(this.#sender, `remote-${this.#count}-${i}`),
        ),
      }
      const { txnId, events } = this.#open
      try {
        const { status, body } = await this.#peer.ask(
          this.#laneway.federationUrl,
          this.#laneway.serverName,
          'PUT',
          `/_matrix/federation/v1/send/${txnId}`,
          {
            origin: this.#peer.serverName,
            origin_server_ts: Date.now(),
            pdus: events.map((event) => event.pdu),
          },
        )
        if (status !== 200) throw new Error(JSON.stringify(body))
      } catch {
        if (end.aborted) return
        await Bun.sleep(20)
        continue
      }
      this.acknowledged.push(...events.map((event) => event.eventId))
      this.#open = undefined
    }
  }
}

/** Waits until the newest page of history has these events: all that was acknowledged last. */
async function untilRead(login: Login, roomId: string, ids: readonly string[]): Promise<void> {
  const path = `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/messages?dir=b&limit=1000`
  await until(async () => {
    const { chunk } = await login.get<{ chunk: { event_id: string }[] }>(path)
    const seen = new Set(chunk.map((event) => event.event_id))
    return ids.every((id) => seen.has(id))
  })
}
