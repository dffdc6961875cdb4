import './silent-log.ts'
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { rm } from 'node:fs/promises'
import {
  Direction,
  EventType,
  type MatrixEvent,
  MsgType,
  NotificationCountType,
  Preset,
  RelationType,
  RoomCreateTypeField,
  RoomType,
} from 'matrix-js-sdk'
import { ReceiptType } from 'matrix-js-sdk/lib/@types/read_receipts.js'
import { RoomHierarchy } from 'matrix-js-sdk/lib/room-hierarchy.js'
import { makeCertificates } from '../certificates.ts'
import { Laneway, type Login, freePorts } from '../laneway.ts'
import { until } from '../until.ts'
import { type EncryptedFile, download, downloadUrl, upload } from './encrypted-file.ts'
import { Account, type EncryptedDevice, type Hearing } from './encrypted-person.ts'
import { openFolder } from './folder.ts'
import { verifyEachOther, verifyOwnDevice } from './verification.ts'

/**
 * What two people do with the clients that they have, from their accounts on: matrix-js-sdk with its
 * Rust crypto. The whole story is told by /sync, and again by sliding sync; each test goes on where the
 * one before ended.
 */
let directory: string
let laneway: Laneway
let admin: Login

beforeAll(async () => {
  directory = await openFolder('people')
  const [tls, client] = await freePorts(2)
  laneway = await Laneway.prepare(`${directory}/laneway`, {
    ports: { tls: tls!, client: client! },
    certificates: await makeCertificates(`${directory}/certificates`),
    registrationByToken: true,
  })
  await laneway.start()
  admin = await laneway.register('admin', true)
})

afterAll(async () => {
  await laneway?.stop()
  if (process.env['LANEWAY_INTEROP_KEEP']) console.log(`kept: ${directory}`)
  else await rm(directory, { recursive: true, force: true })
})

const tokens = '/_synapse/admin/v1/registration_tokens'
const encryption = { type: EventType.RoomEncryption, state_key: '' }
const megolm = { algorithm: 'm.megolm.v1.aes-sha2' }

for (const hearing of ['/sync', 'sliding sync'] as const)
  describe(`by ${hearing}`, () => tellAll(hearing))

function tellAll(hearing: Hearing): void {
  const suffix = hearing === '/sync' ? 1 : 2
  let alices: Account
  let alice: EncryptedDevice, bob: EncryptedDevice, phone: EncryptedDevice
  const devices: EncryptedDevice[] = []
  /** An encrypted room and one that is not. */
  let secret: string, open: string

  afterAll(() => {
    for (const device of devices) device.stop()
  })

  async function together(name: string, initial_state: object[]): Promise<string> {
    const { room_id: roomId } = await alice.client.createRoom({
      preset: Preset.PrivateChat,
      name,
      invite: [bob.userId],
      initial_state: initial_state as never,
    })
    await until(() => bob.client.getRoom(roomId)?.getMyMembership() === 'invite')
    await bob.client.joinRoom(roomId)
    await alice.untilMembership(roomId, bob.userId, 'join')
    await until(() => bob.client.getRoom(roomId)?.getMyMembership() === 'join')
    return roomId
  }

  test('two people register by a token, which is good for two', async () => {
    const { token } = await admin.ask<{ token: string }>('POST', `${tokens}/new`, {
      uses_allowed: 2,
    })
    const register = async (name: string) => {
      const made = await Account.registerByToken(laneway.clientUrl, name, token, { hearing })
      devices.push(made.device)
      await made.account.setUp(made.device)
      return made
    }
    ;({ account: alices, device: alice } = await register(`alice${suffix}`))
    ;({ device: bob } = await register(`bob${suffix}`))
    expect(await admin.get<object>(`${tokens}/${token}`)).toMatchObject({ completed: 2 })
    await expect(register(`carol${suffix}`)).rejects.toThrow('401')
  })

  test('they talk in an encrypted room, and verify each other', async () => {
    secret = await together('Secret', [{ ...encryption, content: megolm }])
    await alice.say(secret, 'Hello Bob')
    await bob.untilTexts(secret, 'Hello Bob')
    await bob.say(secret, 'Hello Alice')
    await alice.untilTexts(secret, 'Hello Alice')
    expect(await alice.hasVerified(bob.userId)).toBe(false)
    await verifyEachOther(alice, bob, secret)
    await until(() => alice.hasVerified(bob.userId))
    await until(() => bob.hasVerified(alice.userId))
  })

  test('a file that is sent encrypted is what the other one downloads', async () => {
    const plain = crypto.getRandomValues(new Uint8Array(50_000))
    await alice.client.sendMessage(secret, {
      msgtype: MsgType.File,
      body: 'noise.bin',
      info: { size: plain.length },
      file: (await upload(alice, plain)) as never,
    })
    await bob.untilTexts(secret, 'noise.bin')
    const file = bob.withText(secret, 'noise.bin')!.getContent()['file'] as EncryptedFile
    expect(await download(bob, file)).toEqual(plain)
    expect((await fetch(downloadUrl(bob, file))).status).toBe(401)
  })

  test('a new device restores the backup, reads the history and goes on', async () => {
    const said = Array.from({ length: 45 }, (_, i) => `before the phone ${i}`)
    for (const text of said) await alice.say(secret, text)
    await bob.untilTexts(secret, said.at(-1)!)
    await until(async () => (await alice.backedUp()) >= 2)
    phone = await alices.logIn()
    devices.push(phone)
    expect(await phone.restore()).toBeGreaterThanOrEqual(2)
    await phone.readBack(secret)
    const all = ['Hello Bob', 'Hello Alice', 'noise.bin', ...said]
    await phone.untilTexts(secret, ...all)
    expect(phone.texts(secret).filter((text) => all.includes(text))).toEqual(all)
    const file = phone.withText(secret, 'noise.bin')!.getContent()['file'] as EncryptedFile
    expect((await download(phone, file)).length).toBe(50_000)
    // Alice has signed it, so that Bob, who verified her, believes it.
    await until(() => bob.isVerified(phone.userId, phone.deviceId))
    await bob.say(secret, 'to both')
    for (const device of [alice, phone]) await device.untilTexts(secret, 'to both')
    await phone.say(secret, 'from the phone')
    for (const device of [alice, bob]) await device.untilTexts(secret, 'from the phone')
  })

  test('a device that another one verifies is given the secrets', async () => {
    const tablet = await alices.logIn()
    devices.push(tablet)
    await verifyOwnDevice(tablet, alice)
    await until(() => bob.isVerified(tablet.userId, tablet.deviceId))
    const crypto = tablet.client.getCrypto()!
    await until(async () => (await crypto.getSessionBackupPrivateKey()) !== null)
    await crypto.restoreKeyBackup()
    await tablet.untilTexts(secret, 'from the phone')
    await tablet.client.logout(true)
    await until(async () => !(await bob.knows(tablet.userId, tablet.deviceId)))
  })

  test('reactions, edits and redactions arrive, encrypted or not', async () => {
    open = await together('Open', [])
    for (const roomId of [secret, open]) {
      const eventId = await alice.say(roomId, 'what do you think?')
      await bob.untilTexts(roomId, 'what do you think?')
      const { event_id: reaction } = await bob.client.sendEvent(roomId, EventType.Reaction, {
        'm.relates_to': { rel_type: RelationType.Annotation, event_id: eventId, key: '👍' },
      })
      const reactions = () => keysOf(alice, roomId, eventId)
      await until(() => reactions().join() === '👍')
      await alice.client.sendMessage(roomId, {
        msgtype: MsgType.Text,
        body: '* what did you think?',
        'm.new_content': { msgtype: MsgType.Text, body: 'what did you think?' },
        'm.relates_to': { rel_type: RelationType.Replace, event_id: eventId },
      } as never)
      await bob.untilTexts(roomId, 'what did you think?')
      await bob.client.redactEvent(roomId, reaction)
      await until(() => reactions().length === 0)
    }
  })

  test('a thread is read and listed by the other one, each with what it counts', async () => {
    for (const roomId of [secret, open]) {
      const root = await alice.say(roomId, 'a long story')
      await bob.untilTexts(roomId, 'a long story')
      for (const body of ['it began', 'it went on', 'it ended'])
        await alice.client.sendMessage(roomId, root, { msgtype: MsgType.Text, body })
      const inThread = () => bob.room(roomId).getThread(root)?.timeline ?? []
      await until(() => textsOf(inThread()).includes('it ended'))
      await bob.client.sendMessage(roomId, root, { msgtype: MsgType.Text, body: 'and then?' })
      await until(() => alice.room(roomId).getThread(root)?.length === 4)

      const reader = phone.room(roomId)
      await reader.createThreadsTimelineSets()
      await reader.fetchRoomThreads()
      const listed = () => reader.threadsTimelineSets[0]!.getLiveTimeline().getEvents()
      await until(() => textsOf(listed()).includes('a long story'))
      const all = ['it began', 'it went on', 'it ended', 'and then?']
      const thread = reader.getThread(root)!
      await until(() => all.every((text) => textsOf(thread.timeline).includes(text)))
      // Two that were sent within some milliseconds may stand either way there: the client sorts them by
      // how old they were when it heard of them. The server is asked for its order.
      const { events } = await phone.client.relations(roomId, root, RelationType.Thread, null, {
        dir: Direction.Forward,
      })
      expect(textsOf(events)).toEqual(all)
    }
  })

  test('what is unread is counted, until it is read; who has read is told unless they keep it', async () => {
    const room = bob.room(open)
    const counted = (type: NotificationCountType) => room.getRoomUnreadNotificationCount(type)
    await alice.say(open, 'one')
    const { event_id: mention } = await alice.client.sendMessage(open, {
      msgtype: MsgType.Text,
      body: 'look here',
      'm.mentions': { user_ids: [bob.userId] },
    })
    await bob.untilTexts(open, 'look here')
    await until(() => counted(NotificationCountType.Highlight) === 1)
    expect(counted(NotificationCountType.Total)).toBeGreaterThanOrEqual(2)

    const event = () => bob.room(open).findEventById(mention)!
    const readBy = () => alice.room(open).getEventReadUpTo(bob.userId, true)
    const before = readBy()
    await bob.client.sendReadReceipt(event(), ReceiptType.ReadPrivate)
    await until(() => counted(NotificationCountType.Total) === 0)
    expect(counted(NotificationCountType.Highlight)).toBe(0)
    await alice.say(open, 'another')
    await bob.untilTexts(open, 'another')
    await until(() => counted(NotificationCountType.Total) === 1)
    expect(readBy()).toBe(before)
    await bob.client.sendReadReceipt(bob.withText(open, 'another')!)
    await until(() => readBy() === alice.withText(open, 'another')!.getId())
    await until(() => counted(NotificationCountType.Total) === 0)

    // In a thread, by itself.
    const root = bob.withText(open, 'a long story')!.getId()!
    const unread = () => room.getThreadUnreadNotificationCount(root, NotificationCountType.Total)
    await alice.client.sendMessage(open, root, { msgtype: MsgType.Text, body: 'the moral' })
    const last = (): MatrixEvent | undefined =>
      room.getThread(root)?.timeline.findLast((each) => textOf(each) === 'the moral')
    await until(() => last() !== undefined)
    if (hearing === '/sync') await until(() => unread() === 1)
    await bob.client.sendReadReceipt(last()!)
    await until(() => unread() === 0)
    const thread = alice.room(open).getThread(root)!
    await until(() => thread.getReadReceiptForUserId(bob.userId, true)?.eventId === last()!.getId())
    expect(readBy()).toBe(alice.withText(open, 'another')!.getId()!)
  })

  test('who is typing is seen', async () => {
    await bob.client.sendTyping(secret, true, 60_000)
    await until(() => alice.room(secret).getMember(bob.userId)?.typing === true)
    await bob.client.sendTyping(secret, false, 60_000)
    await until(() => alice.room(secret).getMember(bob.userId)?.typing === false)
  })

  test('words are found where they can be read', async () => {
    await alice.say(open, 'the quick brown fox')
    await alice.say(secret, 'the secret brown fox')
    const found = async () => {
      const { results } = await bob.client.searchRoomEvents({ term: 'brown fox' })
      return results.map(({ context }) => textOf(context.getEvent()))
    }
    await until(async () => (await found()).length > 0)
    expect(await found()).toEqual(['the quick brown fox'])
  })

  test('a space shows the rooms in it', async () => {
    const { room_id: spaceId } = await alice.client.createRoom({
      name: 'Our place',
      preset: Preset.PrivateChat,
      invite: [bob.userId],
      creation_content: { [RoomCreateTypeField]: RoomType.Space },
    })
    for (const roomId of [secret, open])
      await alice.client.sendStateEvent(
        spaceId,
        EventType.SpaceChild,
        { via: [laneway.serverName], suggested: roomId === open },
        roomId,
      )
    await until(() => bob.client.getRoom(spaceId)?.getMyMembership() === 'invite')
    await bob.client.joinRoom(spaceId)
    await until(() => bob.client.getRoom(spaceId)?.getMyMembership() === 'join')
    await until(() => bob.room(spaceId).isSpaceRoom())
    const hierarchy = new RoomHierarchy(bob.room(spaceId), 1)
    while (hierarchy.canLoadMore) await hierarchy.load()
    expect(new Set(hierarchy.rooms!.map(({ name }) => name))).toEqual(
      new Set(['Open', 'Our place', 'Secret']),
    )
    expect(hierarchy.isSuggested(spaceId, open)).toBe(true)
    expect(hierarchy.isSuggested(spaceId, secret)).toBe(false)
  })
}

const textOf = (event: MatrixEvent) => event.getContent()['body'] as string

const textsOf = (events: MatrixEvent[]) => events.map(textOf)

/** With which keys an event has been reacted to, as a device sees it. */
const keysOf = (device: EncryptedDevice, roomId: string, eventId: string): string[] =>
  (
    device
      .room(roomId)
      .relations.getChildEventsForEvent(eventId, RelationType.Annotation, EventType.Reaction)
      ?.getSortedAnnotationsByKey() ?? []
  )
    .filter(([, events]) => events.size > 0)
    .map(([key]) => key)
