import { MatrixError } from '#core/error.ts'
import type { JsonObject } from '#core/json.ts'
import type { RemoteJoin, SignedJoin } from '#engine/room/fetch/fetching.ts'
import { remoteJoin } from '#engine/room/fetch/join.ts'
import { RemoteRoom, RemoteServer } from '#test/engine/room/fetch/remote-room.ts'
import { type Answer, type Question, Residents } from '#test/engine/room/fetch/residents.ts'
import { patienceMs } from '#test/until.ts'

/** A user of ours who joins a room that two other servers are in. */

export const us = new RemoteServer('us.test')
export const first = new RemoteServer('first.test')
export const second = new RemoteServer('second.test')
export const now = 1_700_000_100_000
export const userId = us.user('alice')

export type Scene = {
  room: RemoteRoom
  residents: Residents
  signed: SignedJoin[]
  join: RemoteJoin
}

export function scene(version: string, joinRules?: JsonObject): Scene {
  const room = new RemoteRoom(version, [first, second], joinRules ? { joinRules } : {})
  room.say(room.creator, 'hello')
  const residents = new Residents([us, first, second], [room])
  const signed: SignedJoin[] = []
  const join: RemoteJoin = {
    federation: residents,
    now: () => now,
    deadlineMs: patienceMs,
    roomId: room.roomId,
    userId,
    content: { displayname: 'Alice' },
    via: [first.name, second.name],
    signing: us.signing,
    onSigned: (each) => {
      signed.push(each)
      return Promise.resolve()
    },
  }
  return { room, residents, signed, join }
}

/** Why a join failed, which it must. */
export async function failureOf(join: RemoteJoin): Promise<MatrixError> {
  const error = await remoteJoin(join).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (error instanceof MatrixError) return error
  throw new Error(`no MatrixError but ${String(error)}`)
}

/** The first server changes its answers to one kind of question. */
export function lying(name: string, change: (body: JsonObject, question: Question) => JsonObject) {
  return (question: Question, answer: Answer): Answer =>
    question.name === name && question.server === first.name
      ? { status: 200, body: change(structuredClone(answer.body) as JsonObject, question) }
      : answer
}

export const changeTemplate = (change: (event: JsonObject) => JsonObject) =>
  lying('make_join', (body) => ({ ...body, event: change(body['event'] as JsonObject) }))
