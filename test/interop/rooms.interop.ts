import './silent-log.ts'
import { afterAll, beforeAll, expect, test } from 'bun:test'
import { rm } from 'node:fs/promises'
import { Preset } from 'matrix-js-sdk'
import { makeCertificates } from '../certificates.ts'
import { Laneway, freePorts } from '../laneway.ts'
import { openFolder } from './folder.ts'
import { Person, type Stored } from './person.ts'
import { Synapse } from './synapse.ts'
import { synapseVenv } from './venv.ts'

const versions = ['1', '6', '10', '11', '12']
let directory: string
let laneway: Laneway
let synapse: Synapse
/** Alice and Carol live on Laneway, Bob and Dan on Synapse. */
let alice: Person, carol: Person, bob: Person, dan: Person

beforeAll(async () => {
  directory = await openFolder('interop')
  const certificates = await makeCertificates(`${directory}/certificates`)
  const [lanewayTls, lanewayClient, synapseTls, synapseClient] = await freePorts(4)
  laneway = await Laneway.prepare(`${directory}/laneway`, {
    ports: { tls: lanewayTls!, client: lanewayClient! },
    certificates,
  })
  synapse = await Synapse.prepare(
    `${directory}/synapse`,
    await synapseVenv(),
    { tls: synapseTls!, client: synapseClient! },
    certificates,
  )
  await Promise.all([laneway.start(), synapse.start()])
  ;[alice, carol, bob, dan] = await Promise.all([
    Person.register(laneway.clientUrl, 'alice', 'interop'),
    Person.register(laneway.clientUrl, 'carol', 'interop'),
    Person.register(synapse.clientUrl, 'bob', 'interop'),
    Person.register(synapse.clientUrl, 'dan', 'interop'),
  ])
})

afterAll(async () => {
  for (const person of [alice, carol, bob, dan]) person?.stop()
  await Promise.all([laneway?.stop(), synapse?.stop()])
  if (process.env['LANEWAY_INTEROP_KEEP']) console.log(`kept: ${directory}`)
  else await rm(directory, { recursive: true, force: true })
})

for (const version of versions) {
  test(`version ${version}, made on Laneway: a user of Synapse lives in it`, () =>
    live(version, alice, carol, bob, dan))
  test(`version ${version}, made on Synapse: a user of Laneway lives in it`, () =>
    live(version, bob, dan, alice, carol))
}

/**
 * The whole story of a room: `host` and `friend` live on the server where it is made, `guest` and `late` on the
 * other one.
 */
async function live(version: string, host: Person, friend: Person, guest: Person, late: Person) {
  const { room_id: roomId } = await host.client.createRoom({
    room_version: version,
    preset: Preset.PublicChat,
    name: 'Before you came',
  })
  for (let i = 1; i <= 12; i++) await host.say(roomId, `before ${i}`)

  // Invited, and joined by the invitation.
  await host.client.invite(roomId, guest.userId)
  await guest.untilMembership(roomId, 'invite')
  await guest.client.joinRoom(roomId)
  await guest.untilMembership(roomId, 'join')
  await host.until(
    roomId,
    'the guest joined',
    (room) => room.getMember(guest.userId)?.membership === 'join',
  )

  // History from before the join is read by backfill, in order.
  const before = bodies(await guest.history(roomId)).filter((body) => body.startsWith('before'))
  expect(before).toEqual(Array.from({ length: 12 }, (_, i) => `before ${i + 1}`))

  // Somebody joins without an invitation, through the server that is named.
  await late.client.joinRoom(roomId, { viaServers: [serverOf(host.userId)] })
  await late.untilMembership(roomId, 'join')
  // And a neighbour of the host, whom the guest's server learns of.
  await friend.client.joinRoom(roomId)
  await guest.until(
    roomId,
    'the friend joined',
    (room) => room.getMember(friend.userId)?.membership === 'join',
  )

  // They talk in turns; each waits for the other.
  for (let i = 1; i <= 5; i++) {
    await host.say(roomId, `host ${i}`)
    await guest.untilMessage(roomId, `host ${i}`)
    await guest.say(roomId, `guest ${i}`)
    await host.untilMessage(roomId, `guest ${i}`)
  }

  // State changes travel in both directions.
  await host.client.setRoomName(roomId, 'Renamed by the host')
  await guest.until(roomId, 'the new name', (room) => room.name === 'Renamed by the host')
  const levels = await host.get<{ users?: Record<string, number> }>(
    `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/state/m.room.power_levels/`,
  )
  await host.client.sendStateEvent(
    roomId,
    'm.room.power_levels' as never,
    { ...levels, users: { ...levels.users, [guest.userId]: 60 } } as never,
    '',
  )
  await guest.until(roomId, 'power', (room) => room.getMember(guest.userId)?.powerLevel === 60)
  await guest.client.setRoomTopic(roomId, 'Set by the guest')
  await host.until(
    roomId,
    'the topic',
    (room) =>
      room.currentState.getStateEvents('m.room.topic', '')?.getContent()['topic'] ===
      'Set by the guest',
  )

  // Redactions, of one's own message and by the power to.
  const regretted = await guest.say(roomId, 'regretted by the guest')
  await host.untilMessage(roomId, 'regretted by the guest')
  await guest.client.redactEvent(roomId, regretted)
  await host.until(
    roomId,
    'the redaction',
    (room) => room.findEventById(regretted)?.isRedacted() === true,
  )
  const rude = await host.say(roomId, 'rude words')
  await guest.untilMessage(roomId, 'rude words')
  await guest.client.redactEvent(roomId, rude)
  await host.until(
    roomId,
    'the redaction',
    (room) => room.findEventById(rude)?.isRedacted() === true,
  )

  // Leave and come back; kick and come back; ban, and stay out.
  await late.client.leave(roomId)
  // The client does not ask to join where it still believes to be.
  await late.untilMembership(roomId, 'leave')
  await host.until(
    roomId,
    'the late one left',
    (room) => room.getMember(late.userId)?.membership === 'leave',
  )
  await late.client.joinRoom(roomId, { viaServers: [serverOf(host.userId)] })
  await late.untilMembership(roomId, 'join')
  await host.until(
    roomId,
    'back again',
    (room) => room.getMember(late.userId)?.membership === 'join',
  )
  await host.client.kick(roomId, late.userId, 'mind your manners')
  await late.untilMembership(roomId, 'leave')
  await late.client.joinRoom(roomId, { viaServers: [serverOf(host.userId)] })
  await late.untilMembership(roomId, 'join')
  await host.until(
    roomId,
    'back once more',
    (room) => room.getMember(late.userId)?.membership === 'join',
  )
  await guest.client.ban(roomId, late.userId)
  await host.until(roomId, 'the ban', (room) => room.getMember(late.userId)?.membership === 'ban')
  await late.untilMembership(roomId, 'ban')
  expect(await refused(late.client.joinRoom(roomId, { viaServers: [serverOf(host.userId)] }))).toBe(
    true,
  )

  await settle(roomId, host, guest)
  await agree(roomId, host, guest)
}

test('a server that was away catches up with what was said, in the order in which it was said', async () => {
  const { room_id: roomId } = await alice.client.createRoom({
    room_version: '11',
    preset: Preset.PublicChat,
  })
  await bob.client.joinRoom(roomId, { viaServers: [laneway.serverName] })
  await alice.until(roomId, 'Bob', (room) => room.getMember(bob.userId)?.membership === 'join')

  bob.stop()
  dan.stop()
  await synapse.stop()
  for (let i = 1; i <= 30; i++) await alice.say(roomId, `while Synapse was away ${i}`)
  await synapse.start()
  await Promise.all([bob.start(), dan.start()])
  await bob.untilMessage(roomId, 'while Synapse was away 30')

  alice.stop()
  carol.stop()
  await laneway.stop()
  for (let i = 1; i <= 30; i++) await bob.say(roomId, `while Laneway was away ${i}`)
  await laneway.start()
  await Promise.all([alice.start(), carol.start()])
  await bob.say(roomId, 'and back')
  await alice.untilMessage(roomId, 'and back')

  await settle(roomId, alice, bob)
  await agree(roomId, alice, bob)
})

/** Both ends see the last word of each other, so nothing is under way. */
async function settle(roomId: string, one: Person, other: Person): Promise<void> {
  await one.say(roomId, `the last word of ${one.userId}`)
  await other.untilMessage(roomId, `the last word of ${one.userId}`)
  await other.say(roomId, `the last word of ${other.userId}`)
  await one.untilMessage(roomId, `the last word of ${other.userId}`)
}

/** The same current state, the same set of events, and messages in the same order. */
async function agree(roomId: string, one: Person, other: Person): Promise<void> {
  expect([...(await one.state(roomId))]).toEqual([...(await other.state(roomId))])
  const [ours, theirs] = await Promise.all([one.history(roomId), other.history(roomId)])
  expect(ids(ours)).toEqual(ids(theirs))
  expect(bodies(ours)).toEqual(bodies(theirs))
}

const ids = (events: Stored[]) => events.map((event) => event.event_id).sort()

const bodies = (events: Stored[]) =>
  events
    .filter((event) => event.type === 'm.room.message')
    .map((event) => String(event.content['body']))

const serverOf = (userId: string) => userId.slice(userId.indexOf(':') + 1)

async function refused(attempt: Promise<unknown>): Promise<boolean> {
  return attempt.then(
    () => false,
    () => true,
  )
}
