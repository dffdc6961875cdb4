import './silent-log.ts'
import { afterAll, beforeAll, expect, test } from 'bun:test'
import { rm } from 'node:fs/promises'
import { EventType, Preset } from 'matrix-js-sdk'
import { makeCertificates } from '../certificates.ts'
import { Laneway, freePorts } from '../laneway.ts'
import { until } from '../until.ts'
import { Claims } from './claims.ts'
import { agreeOnDevices } from './device-lists.ts'
import { Account, type EncryptedDevice } from './encrypted-person.ts'
import { openFolder } from './folder.ts'
import { Speaker } from './speaker.ts'
import { Synapse } from './synapse.ts'
import { synapseVenv } from './venv.ts'
import { verifyEachOther } from './verification.ts'

/** Real clients with the Rust crypto of matrix-js-sdk, in rooms that are encrypted. */
let directory: string
let laneway: Laneway
let synapse: Synapse
const devices: EncryptedDevice[] = []
/** All that is claimed, of both servers. */
const claims = new Claims()

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

type Home = Laneway | Synapse

let count = 0
async function person(home: Home, name: string) {
  const account = await Account.register(home.clientUrl, `${name}${++count}`, 'interop', {
    fetch: claims.fetch,
    // Synapse tells what is new by the order in which it came, and what is older by depth: of two that
    // spoke at once the client that reads back is not shown both.
    atOnce: 1000,
  })
  const device = await logIn(account)
  await account.setUp(device)
  return { account, device }
}

async function logIn(account: Account): Promise<EncryptedDevice> {
  const device = await account.logIn()
  devices.push(device)
  return device
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

test('a dehydrated device gets the keys of what is said while nobody is logged in', async () => {
  const alice = await person(laneway, 'alice')
  const bob = await person(laneway, 'bob')
  const roomId = await roomOf(alice.device, bob.device)
  await talk(roomId, alice.device, bob.device, 'before')
  await alice.device.client.getCrypto()!.startDehydration()
  await alice.device.client.logout(true)
  await bob.device.say(roomId, 'in the dry')
  const back = await logIn(alice.account)
  await back.restore()
  await back.client.getCrypto()!.startDehydration()
  await back.untilTexts(roomId, 'in the dry')
})

for (const host of ['Laneway', 'Synapse'] as const)
  test(`people on Laneway and Synapse talk in a room made on ${host}, either server ended or killed at times`, async () => {
    const [alice, bob] = [await person(laneway, 'alice'), await person(synapse, 'bob')]
    const [one, two] = host === 'Laneway' ? [alice, bob] : [bob, alice]
    const roomId = await roomOf(one.device, two.device)
    await talk(roomId, one.device, two.device, 'first')
    await verifyEachOther(one.device, two.device, roomId)
    const speakers = [alice, bob].map(({ device }) => new Speaker(device, roomId, device.userId))
    const everybody = [alice.device, bob.device]
    const allHear = async () => {
      const said = speakers.flatMap((speaker) => speaker.said)
      for (const device of everybody) {
        // A long absence leaves a gap.
        await device.untilHeard(roomId, said.at(-1)!)
        await device.readBack(roomId)
        await device.untilHeard(roomId, ...said)
      }
    }

    for (const signal of ['SIGTERM', 'SIGKILL'] as const)
      for (const [home, neighbour, far] of [
        [synapse, alice, bob],
        [laneway, bob, alice],
      ] as const) {
        // Everybody talks, and keys are claimed from both sides, when the server goes.
        const before = speakers.map(({ said }) => said.length)
        for (const speaker of speakers) speaker.start()
        await until(() => speakers.every(({ said }, i) => said.length > before[i]! + 3))
        const storm = claimAll(alice.device, bob.device)
        await home.stop(signal)
        // Whoever is at the other server goes on, and takes another device.
        const left = speakers.map(({ said }) => said.length)
        await until(() => speakers.some(({ said }, i) => said.length > left[i]! + 3))
        for (const speaker of speakers) speaker.pause()
        const fresh = await logIn(neighbour.account)
        await fresh.restore()
        await home.start()
        for (const { client } of devices) client.retryImmediately()
        await storm
        for (const speaker of speakers) await speaker.stop()
        await until(() => far.device.isVerified(fresh.userId, fresh.deviceId))
        await until(() => fresh.knows(far.device.userId, far.device.deviceId))
        everybody.push(fresh)
        for (const speaker of speakers) await speaker.say()
        speakers.push(new Speaker(fresh, roomId, fresh.deviceId))
        await speakers.at(-1)!.say()
        await allHear()
        speakers.pop()
      }

    for (const device of everybody) {
      const texts = device.heard(roomId)
      expect(texts).toEqual([...new Set(texts)])
    }
    expect(claims.count).toBeGreaterThan(20)
    expect(claims.givenTwice()).toEqual([])
    await agreeOnDevices(alice.device, bob.device, everybody)
  })

/** Claims keys of both devices by the servers of both, many at once; some fail, as servers go. */
async function claimAll(...targets: EncryptedDevice[]): Promise<void> {
  const ask = async ({ client }: EncryptedDevice) => {
    for (let i = 0; i < 4; i++)
      await client
        .claimOneTimeKeys(targets.map(({ userId, deviceId }) => [userId, deviceId]))
        .catch(() => {})
  }
  await Promise.all([...targets, ...targets].map(ask))
}
