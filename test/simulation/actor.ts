import { patienceMs } from '#test/until.ts'

export type Answer = { status: number; body: any }

/** A logged-in user of any server. */
export type Actor = {
  readonly userId: string
  ask(method: string, path: string, body?: object): Promise<Answer>
}

export const serverOf = (userId: string): string => userId.slice(userId.indexOf(':') + 1)

export const enc = encodeURIComponent

export type ClientEvent = {
  event_id: string
  type: string
  state_key?: string
  sender: string
  content: Record<string, unknown>
  redacts?: string
  unsigned?: { redacted_because?: { event_id: string } }
}

/** Asks until the server answers at all: it may be starting. */
export async function askSurely(actor: Actor, method: string, path: string): Promise<Answer> {
  const givenUp = performance.now() + patienceMs
  for (;;) {
    const late = performance.now() > givenUp
    try {
      const answer = await actor.ask(method, path)
      if (answer.status <= 500 || late) return answer
    } catch (error) {
      if (late) throw error
    }
    await Bun.sleep(50)
  }
}

/** The current state of a room by key; undefined for who may not see it. */
export async function stateOf(
  actor: Actor,
  roomId: string,
): Promise<Map<string, ClientEvent> | undefined> {
  const { status, body } = await askSurely(actor, 'GET', `rooms/${enc(roomId)}/state`)
  if (status !== 200) return undefined
  return new Map((body as ClientEvent[]).map((event) => [keyOf(event), event]))
}

export const keyOf = ({ type, state_key }: ClientEvent): string => `${type}|${state_key}`

/** A room's whole history, in the order of `direction`. */
export async function historyOf(
  actor: Actor,
  roomId: string,
  direction: 'b' | 'f',
  limit: number,
): Promise<ClientEvent[]> {
  const events: ClientEvent[] = []
  let from = ''
  for (let page = 0; page < 2000; page++) {
    const path = `rooms/${enc(roomId)}/messages?dir=${direction}&limit=${limit}${from}`
    const { status, body } = await askSurely(actor, 'GET', path)
    if (status !== 200)
      throw new Error(`${actor.userId} ${path}: ${status} ${JSON.stringify(body)}`)
    events.push(...body.chunk)
    if (body.end === undefined || (direction === 'f' && body.chunk.length === 0)) return events
    from = `&from=${enc(body.end)}`
  }
  throw new Error(`The history of ${roomId} has no end`)
}
