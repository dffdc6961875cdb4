import { Random } from '#test/core/random.ts'
import { type Actor, type Answer, enc, serverOf } from './actor.ts'

export type Room = {
  readonly roomId: string
  readonly version: string
  /** What users last did there, as far as the driver knows: a guide for what to try next. */
  readonly membership: Map<string, string>
  readonly recent: string[]
}

export type Done = {
  at: number
  who: string
  what: string
  room: string
  status: number
  id?: string
}

const restrictedTo = (roomId: string) => ({
  type: 'm.room.join_rules',
  state_key: '',
  content: { join_rule: 'restricted', allow: [{ type: 'm.room_membership', room_id: roomId }] },
})

export type WorldOptions = {
  seed: number
  /** In a fork this takes joins away: a resolution judges them by rules that came after them. */
  changeJoinRules: boolean
}

const membershipActions = ['kick', 'ban', 'unban', 'invite'] as const

/** Random users who do random things in random rooms. */
export class World {
  readonly actors: readonly Actor[]
  readonly rooms: Room[] = []
  readonly done: Done[] = []
  readonly #options: WorldOptions
  readonly #began = performance.now()
  #count = 0

  constructor(actors: readonly Actor[], options: WorldOptions) {
    this.actors = actors
    this.#options = options
  }

  /** Rooms of these versions, made by users in turn; each may be found by all servers. */
  async makeRooms(versions: readonly string[]): Promise<void> {
    await this.#makeRoom(versions[0]!, 0)
    const others = versions.slice(1)
    await Promise.all(others.map((version, index) => this.#makeRoom(version, index + 1)))
  }

  async #makeRoom(version: string, index: number): Promise<void> {
    const maker = this.actors[index % this.actors.length]!
    const { body } = await this.#note(maker, 'createRoom', version, 'POST', 'createRoom', {
      room_version: version,
      preset: 'public_chat',
      // Every second room that can is open to those who are in the first.
      ...(Number(version) >= 8 &&
        index % 2 === 1 && { initial_state: [restrictedTo(this.rooms[0]!.roomId)] }),
      power_level_content_override: {
        users: Object.fromEntries(
          this.actors.flatMap(({ userId }, each) =>
            // v12+: whoever makes a room is not in its power levels.
            userId === maker.userId
              ? Number(version) < 12
                ? [[userId, 100]]
                : []
              : [[userId, [50, 100, 0][(each + index) % 3]!]],
          ),
        ),
      },
    })
    const roomId = body.room_id as string
    this.rooms.push({
      roomId,
      version,
      membership: new Map([[maker.userId, 'join']]),
      recent: [],
    })
  }

  /** Everybody does something, again and again, until the signal comes. */
  async live(until: AbortSignal, pauseMs: number): Promise<void> {
    await Promise.all(
      this.actors.map(async (actor, index) => {
        const random = new Random(this.#options.seed * 1000 + index)
        while (!until.aborted) {
          await this.#act(actor, random).catch((error: unknown) => {
            // A server that is stopped.
            if (!(error instanceof Error)) throw error
          })
          await Bun.sleep(random.below(pauseMs))
        }
      }),
    )
  }

  /** Joins with the help of every server that may be in the room. */
  async join(actor: Actor, room: Room): Promise<Answer> {
    const servers = new Set(
      [...room.membership].filter(([, is]) => is === 'join').map(([userId]) => serverOf(userId)),
    )
    servers.delete(serverOf(actor.userId))
    const via = [...servers].map((server) => `via=${enc(server)}&server_name=${enc(server)}`)
    const path = `join/${enc(room.roomId)}?${via.join('&')}`
    const answer = await this.#note(actor, 'join', room.roomId, 'POST', path, {})
    if (answer.status === 200) room.membership.set(actor.userId, 'join')
    return answer
  }

  async say(actor: Actor, room: Room, body: string): Promise<string | undefined> {
    const path = `rooms/${enc(room.roomId)}/send/m.room.message/${crypto.randomUUID()}`
    const answer = await this.#note(actor, `say ${body}`, room.roomId, 'PUT', path, {
      msgtype: 'm.text',
      body,
    })
    return answer.status === 200 ? (answer.body.event_id as string) : undefined
  }

  async #act(actor: Actor, random: Random): Promise<void> {
    const room = random.pick(this.rooms)
    const is = room.membership.get(actor.userId)
    if (is !== 'join' && random.next() < 0.6) return void (await this.join(actor, room))
    const dice = random.below(100)
    if (dice < 40) await this.#remember(room, this.say(actor, room, `${++this.#count}`))
    else if (dice < 62) await this.#setState(actor, room, random)
    else if (dice < 68) await this.#redact(actor, room, random)
    else if (dice < 72) await this.#leave(actor, room)
    else if (dice < 76) await this.join(actor, room)
    else if (dice < 88) await this.#changeOther(actor, room, random)
    else if (dice < 94 || !this.#options.changeJoinRules)
      await this.#changePower(actor, room, random)
    else await this.#changeJoinRule(actor, room, random)
  }

  async #remember(room: Room, sent: Promise<string | undefined>): Promise<void> {
    const eventId = await sent
    if (eventId === undefined) return
    room.recent.push(eventId)
    if (room.recent.length > 20) room.recent.shift()
  }

  async #put(actor: Actor, room: Room, type: string, key: string, content: object): Promise<void> {
    const path = `rooms/${enc(room.roomId)}/state/${type}/${enc(key)}`
    const answer = await this.#note(
      actor,
      `set ${type} ${key} ${JSON.stringify(content)}`,
      room.roomId,
      'PUT',
      path,
      content,
    )
    if (answer.status === 200) room.recent.push(answer.body.event_id as string)
  }

  #setState(actor: Actor, room: Room, random: Random): Promise<void> {
    const text = `${++this.#count}`
    const dice = random.below(4)
    if (dice === 0) return this.#put(actor, room, 'm.room.name', '', { name: text })
    if (dice === 1) return this.#put(actor, room, 'm.room.topic', '', { topic: text })
    if (dice === 2)
      return this.#put(actor, room, 'm.room.member', actor.userId, {
        membership: 'join',
        displayname: text,
      })
    return this.#put(actor, room, 'test.thing', `k${random.below(3)}`, { text })
  }

  async #redact(actor: Actor, room: Room, random: Random): Promise<void> {
    if (room.recent.length === 0) return
    const target = random.pick(room.recent)
    const path = `rooms/${enc(room.roomId)}/redact/${enc(target)}/${crypto.randomUUID()}`
    await this.#note(actor, `redact ${target}`, room.roomId, 'PUT', path, {})
  }

  async #leave(actor: Actor, room: Room): Promise<void> {
    // A room that nobody is in says nothing about servers.
    if ([...room.membership.values()].filter((each) => each === 'join').length < 3) return
    const path = `rooms/${enc(room.roomId)}/leave`
    const { status } = await this.#note(actor, 'leave', room.roomId, 'POST', path, {})
    if (status === 200) room.membership.set(actor.userId, 'leave')
  }

  async #changeOther(actor: Actor, room: Room, random: Random): Promise<void> {
    const { userId } = random.pick(this.actors)
    if (userId === actor.userId) return
    const what = random.pick(membershipActions)
    const path = `rooms/${enc(room.roomId)}/${what}`
    const { status } = await this.#note(actor, `${what} ${userId}`, room.roomId, 'POST', path, {
      user_id: userId,
    })
    if (status === 200)
      room.membership.set(
        userId,
        { kick: 'leave', ban: 'ban', unban: 'leave', invite: 'invite' }[what],
      )
  }

  async #changePower(actor: Actor, room: Room, random: Random): Promise<void> {
    const path = `rooms/${enc(room.roomId)}/state/m.room.power_levels/`
    const { status, body } = await actor.ask('GET', path)
    if (status !== 200) return
    const { userId } = random.pick(this.actors)
    const users = { ...body.users, [userId]: random.pick([0, 50, 50, 75, 100]) }
    const levels = random.next() < 0.3 ? { state_default: random.pick([0, 25, 50]) } : {}
    await this.#put(actor, room, 'm.room.power_levels', '', { ...body, ...levels, users })
  }

  async #changeJoinRule(actor: Actor, room: Room, random: Random): Promise<void> {
    const kinds = ['public', 'public', 'invite']
    if (Number(room.version) >= 8) kinds.push('restricted', 'restricted')
    const kind = random.pick(kinds)
    const allow = [{ type: 'm.room_membership', room_id: random.pick(this.rooms).roomId }]
    const content = { join_rule: kind, ...(kind === 'restricted' && { allow }) }
    await this.#put(actor, room, 'm.room.join_rules', '', content)
  }

  async #note(
    actor: Actor,
    what: string,
    room: string,
    method: string,
    path: string,
    body: object,
  ): Promise<Answer> {
    const at = Math.round(performance.now() - this.#began)
    const answer = await actor.ask(method, path, body)
    const id = answer.body?.event_id as string | undefined
    this.done.push({
      at,
      who: actor.userId,
      what: answer.status === 200 ? what : `${what}: ${answer.body?.errcode} ${answer.body?.error}`,
      room,
      status: answer.status,
      ...(id !== undefined && { id }),
    })
    return answer
  }
}
