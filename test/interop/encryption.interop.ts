import './silent-log.ts'
import { afterAll, beforeAll, expect, test } from 'bun:test'
import { rm } from 'node:fs/promises'
import { EventType, Preset } from 'matrix-js-sdk'
import { makeCertificates } from '../certificates.ts'
import { Laneway, freePorts } from '../laneway.ts'
import { until } from '../until.ts'
import { openFolder } from './folder.ts'
import { Account, type EncryptedDevice } from './encrypted-person.ts'
import { Synapse } from './synapse.ts'
import { synapseVenv } from './venv.ts'

/** Real clients with the Rust crypto of matrix-js-sdk, in rooms that are encrypted. */
let directory: string
let laneway: Laneway
let synapse: Synapse
const devices: EncryptedDevice[] = []

beforeAll(async () => {
  directory = await openFolder('encryption')
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
})

afterAll(async () => {
  for (const device of devices) device.stop()
  await Promise.all([laneway?.stop(), synapse?.stop()])
  if (process.env['LANEWAY_INTEROP_KEEP']) console.log(`kept: ${directory}`)
  else await rm(directory, { recursive: true, force: true })
})

let count = 0
async function person(home: { clientUrl: string }, name: string) {
  const account = await Account.register(home.clientUrl, `${name}${++count}`, 'interop')
  const device = await account.logIn()
  devices.push(device)
  await account.setUp(device)
  return { account, device }
}

/** An encrypted room in which both are. */
async function roomOf(host: EncryptedDevice, guest: EncryptedDevice): Promise<string> {
  const { room_id: roomId } = await host.client.createRoom({
    preset: Preset.PrivateChat,
    invite: [guest.userId],
    initial_state: [
      {
        type: EventType.RoomEncryption,
        state_key: '',
        content: { algorithm: 'm.megolm.v1.aes-sha2' },
      },
    ],
  })
  await until(() => guest.client.getRoom(roomId)?.getMyMembership() === 'invite')
  await guest.client.joinRoom(roomId)
  await host.untilMembership(roomId, guest.userId, 'join')
  return roomId
}

async function talk(roomId: string, one: EncryptedDevice, two: EncryptedDevice, about: string) {
  await one.say(roomId, `${about} from one`)
  await two.untilTexts(roomId, `${about} from one`)
  await two.say(roomId, `${about} from two`)
  await one.untilTexts(roomId, `${about} from two`)
}

test('two people on Laneway talk, and a new device reads what was said before', async () => {
  const alice = await person(laneway, 'alice')
  const bob = await person(laneway, 'bob')
  const roomId = await roomOf(alice.device, bob.device)
  await talk(roomId, alice.device, bob.device, 'first')
  const { client } = alice.device
  const backedUp = async () => {
    const answer = await fetch(`${laneway.clientUrl}/_matrix/client/v3/room_keys/version`, {
      headers: { authorization: `Bearer ${client.getAccessToken()}` },
    })
    return ((await answer.json()) as { count: number }).count
  }
  await until(async () => (await backedUp()) >= 2)
  const phone = await alice.account.logIn()
  devices.push(phone)
  expect(await phone.restore()).toBeGreaterThanOrEqual(2)
  await phone.untilTexts(roomId, 'first from one', 'first from two')
  await until(() => bob.device.isSigned(phone.userId, phone.deviceId))
  await bob.device.say(roomId, 'to both')
  for (const device of [alice.device, phone]) await device.untilTexts(roomId, 'to both')
})

test('a dehydrated device gets the keys of what is said while nobody is logged in', async () => {
  const alice = await person(laneway, 'alice')
  const bob = await person(laneway, 'bob')
  const roomId = await roomOf(alice.device, bob.device)
  await talk(roomId, alice.device, bob.device, 'before')
  await alice.device.client.getCrypto()!.startDehydration()
  await alice.device.client.logout(true)
  await bob.device.say(roomId, 'in the dry')
  const back = await alice.account.logIn()
  devices.push(back)
  await back.restore()
  await back.client.getCrypto()!.startDehydration()
  await back.untilTexts(roomId, 'in the dry')
})

for (const host of ['Laneway', 'Synapse'] as const)
  test(`people on Laneway and Synapse talk in a room made on ${host}, either server away at times`, async () => {
    const [alice, bob] = [await person(laneway, 'alice'), await person(synapse, 'bob')]
    const [one, two] = host === 'Laneway' ? [alice, bob] : [bob, alice]
    const roomId = await roomOf(one.device, two.device)
    await talk(roomId, one.device, two.device, 'first')
    await until(() => alice.device.isSigned(bob.device.userId, bob.device.deviceId))
    await until(() => bob.device.isSigned(alice.device.userId, alice.device.deviceId))

    // A new device while the other server is away, and what is said then.
    await synapse.stop()
    const phone = await alice.account.logIn()
    devices.push(phone)
    await phone.restore()
    await alice.device.say(roomId, 'while Synapse is away')
    await synapse.start()
    await bob.device.untilTexts(roomId, 'while Synapse is away')
    await until(() => bob.device.isSigned(phone.userId, phone.deviceId))
    await bob.device.say(roomId, 'to both of you')
    for (const device of [alice.device, phone]) await device.untilTexts(roomId, 'to both of you')

    await laneway.stop('SIGKILL')
    await bob.device.say(roomId, 'while Laneway is away')
    await laneway.start()
    for (const device of [alice.device, phone])
      await device.untilTexts(roomId, 'while Laneway is away')
    await talk(roomId, one.device, two.device, 'last')
  })
