import {
  VerificationPhase,
  type VerificationRequest,
} from 'matrix-js-sdk/lib/crypto-api/verification.js'
import { until } from '../until.ts'
import type { EncryptedDevice } from './encrypted-person.ts'

/** So often it is tried, and so long, in milliseconds, until it is tried again. */
const maxTries = 5
const againMs = 5_000

/**
 * Two people compare what both screens show, by messages in their room. When both confirm in the same
 * instant it happens, once in some forty times, that one client never uploads what it has signed: it does
 * not ask the server for anything. Then they do as people do, and verify each other again.
 */
export async function verifyEachOther(
  one: EncryptedDevice,
  two: EncryptedDevice,
  roomId: string,
): Promise<void> {
  for (let tries = 0; tries < maxTries; tries++) {
    await verifyOnce(one, two, roomId)
    for (const began = performance.now(); performance.now() - began < againMs; await Bun.sleep(10))
      if ((await one.hasVerified(two.userId)) && (await two.hasVerified(one.userId))) return
  }
  throw new Error('They compared what both screens show, and do not know each other')
}

async function verifyOnce(one: EncryptedDevice, two: EncryptedDevice, roomId: string) {
  await untilKnown(one, two)
  const request = await one.crypto.requestVerificationDM(two.userId, roomId)
  const asked = () => two.crypto.findVerificationRequestDMInProgress(roomId, one.userId)
  await until(() => asked() !== undefined)
  await compare(request, asked()!)
}

/** Somebody's new device is verified by one that is already, by messages between the two. */
export async function verifyOwnDevice(
  fresh: EncryptedDevice,
  verified: EncryptedDevice,
): Promise<void> {
  await untilKnown(fresh, verified)
  const request = await fresh.crypto.requestOwnUserVerification()
  const asked = () =>
    verified.crypto
      .getVerificationRequestsToDeviceInProgress(fresh.userId)
      .find(({ otherDeviceId }) => otherDeviceId === fresh.deviceId)
  await until(() => asked() !== undefined)
  await compare(request, asked()!)
}

/** A device that is not known is not listened to. */
async function untilKnown(one: EncryptedDevice, two: EncryptedDevice): Promise<void> {
  for (const [here, there] of [
    [one, two],
    [two, one],
  ] as const) {
    await until(() => here.knows(there.userId, there.deviceId))
    await until(() => here.crypto.userHasCrossSigningKeys(there.userId))
  }
}

async function compare(ours: VerificationRequest, theirs: VerificationRequest): Promise<void> {
  const both = [ours, theirs]
  const untilBoth = async (what: string, isSo: (one: VerificationRequest) => boolean) => {
    const cancelled = () => both.find(({ phase }) => phase === VerificationPhase.Cancelled)
    try {
      await until(() => cancelled() !== undefined || both.every(isSo))
    } catch (cause) {
      const phases = both.map(({ phase }) => VerificationPhase[phase])
      throw new Error(`never ${what}: ${phases.join(' and ')}`, { cause })
    }
    const end = cancelled()
    if (end) throw new Error(`cancelled before ${what}: ${end.cancellationCode}`)
  }
  await theirs.accept()
  await untilBoth('ready', ({ phase }) => phase === VerificationPhase.Ready)
  await ours.startVerification('m.sas.v1')
  await untilBoth('started', ({ verifier }) => verifier !== undefined)
  // Whether they come to their end is seen below; so is why they do not.
  for (const { verifier } of both) verifier!.verify().catch(() => {})
  const sas = (request: VerificationRequest) => request.verifier!.getShowSasCallbacks()
  await untilBoth('shown', (request) => sas(request) !== null)
  const [here, there] = both.map((request) => sas(request)!)
  if (JSON.stringify(here!.sas) !== JSON.stringify(there!.sas))
    throw new Error('The screens show different things')
  await Promise.all([here!.confirm(), there!.confirm()])
  await untilBoth('done', ({ phase }) => phase === VerificationPhase.Done)
}
