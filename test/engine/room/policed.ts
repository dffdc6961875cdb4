import { parseJson } from '#core/canonical-json.ts'
import { inspectPdu } from '#core/event/check.ts'
import { hasPolicySignature, policyKeyId } from '#core/event/policy.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { redactedText } from '#core/event/hash.ts'
import { type MadeUpRoom, MadeUpServer } from '#test/builders.ts'
import type { TestDatabase } from '#test/database.ts'
import { deliver, inboxIsEmpty, joinFrom, setState, stored, until } from '#test/room-engine.ts'
import type { OutgoingAnswer, OutgoingRequest } from '#engine/worker/protocol.ts'
import { openScene, other, type Scene, there } from './scene.ts'

/** The policy server of these rooms: it has a user in them, and a key that is in no key document. */
export const policy = other
export const key = new MadeUpServer('key of the policy server').key
export const via = policy.name

export const limits = { policyWaitMs: 1_000, policyPauseMs: 20 }
export const nameIt = { via, public_keys: { ed25519: key.publicKey } }
export const spam = {
  errcode: 'M_FORBIDDEN',
  error: 'The message appears to contain possible spam',
}

export type Policed = Scene & { asked: OutgoingRequest[] }

/** An event as its room reads it. */
export function read({ version, roomId }: MadeUpRoom, body: string): RoomEvent {
  const inspected = inspectPdu(version, parseJson(body), { roomId })
  if (typeof inspected === 'string') throw new Error(inspected)
  return inspected.event
}

export const signatureOf = (event: RoomEvent, by = key) =>
  by.sign(redactedText(event.version, event.pdu)!)

/** What a policy server answers that has signed. */
export const signed = (event: RoomEvent): OutgoingAnswer => ({
  status: 200,
  body: JSON.stringify({ [via]: { [policyKeyId]: signatureOf(event) } }),
})

/** What one answers that will not. */
export const refused = (status = 400, body: object = spam): OutgoingAnswer => ({
  status,
  body: JSON.stringify(body),
})

/** Rooms with a policy server, in a database. */
export function policedIn(database: TestDatabase) {
  /** A room with a policy server; `answer` is what it says of an event. */
  async function openPoliced(
    answer: (event: RoomEvent) => OutgoingAnswer | Promise<OutgoingAnswer> = signed,
    options: Parameters<typeof openScene>[1] = {},
  ): Promise<Policed> {
    const scene = await openScene(database, { limits, ...options })
    await joinFrom(scene, database, scene.roomId, policy, 'watcher')
    const asked: OutgoingRequest[] = []
    scene.federation.answer = (request) => {
      asked.push(request)
      return answer(read(scene.room, request.body!))
    }
    await setState(scene, scene.roomId, 'm.room.policy', nameIt)
    return { ...scene, asked }
  }

  /** What is stored of an event has the policy server's signature. */
  async function isSigned({ room, roomId }: Scene, eventId: string): Promise<boolean> {
    const row = await stored(database, roomId, eventId)
    return hasPolicySignature(read(room, row!.json), { via, publicKey: key.publicKey })
  }

  /** Events of another server come, and are worked off. */
  async function arrived(scene: Scene, texts: readonly string[]) {
    await deliver(scene, database, scene.roomId, there, texts)
    await until(inboxIsEmpty(database, scene.roomId))
  }

  const flagsOf = async ({ roomId }: Scene, eventId: string) =>
    (await stored(database, roomId, eventId))?.flags
  return { openPoliced, isSigned, arrived, flagsOf }
}
