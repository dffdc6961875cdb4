/** What an application service does with MSC2716, and what comes of it on whatever server it is done. */

export type Told = Record<string, unknown>

export type Server = {
  url: string
  name: string
  asToken: string
  /** Of a plain user. */
  alice: { userId: string; token: string }
}

type Answer = { status: number; body: any }
type Event = { event_id: string; type: string; state_key?: string; sender: string; content: any }

const unstable = '/_matrix/client/unstable/org.matrix.msc2716'
const v3 = '/_matrix/client/v3'
const ts = 1_600_000_000_000

export class HistoryStory {
  readonly #server: Server
  #txns = 0

  constructor(server: Server) {
    this.#server = server
  }

  get bot(): string {
    return `@importer:${this.#server.name}`
  }

  user(localpart: string): string {
    return `@${localpart}:${this.#server.name}`
  }

  async ask(token: string, method: string, path: string, body?: object): Promise<Answer> {
    const response = await fetch(this.#server.url + path, {
      method,
      headers: { authorization: `Bearer ${token}` },
      ...(body && { body: JSON.stringify(body) }),
    })
    return { status: response.status, body: await response.json().catch(() => ({})) }
  }

  async must(token: string, method: string, path: string, body?: object): Promise<any> {
    const answer = await this.ask(token, method, path, body)
    if (answer.status === 200) return answer.body
    throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`)
  }

  as = (method: string, path: string, body?: object) =>
    this.must(this.#server.asToken, method, path, body)
  alice = (method: string, path: string, body?: object) =>
    this.must(this.#server.alice.token, method, path, body)

  async ghosts(...names: string[]): Promise<void> {
    for (const username of names)
      await this.ask(this.#server.asToken, 'POST', `${v3}/register`, {
        type: 'm.login.application_service',
        username,
      })
  }

  async room(wish: object = {}): Promise<string> {
    const { room_id: roomId } = await this.as('POST', `${v3}/createRoom`, {
      preset: 'public_chat',
      room_version: '10',
      ...wish,
    })
    const { userId } = this.#server.alice
    await this.as('POST', `${v3}/rooms/${encodeURIComponent(roomId)}/invite`, { user_id: userId })
    await this.alice('POST', `${v3}/join/${encodeURIComponent(roomId)}`, {})
    return roomId as string
  }

  async say(roomId: string, body: string): Promise<string> {
    const path = `${v3}/rooms/${encodeURIComponent(roomId)}/send/m.room.message/t${++this.#txns}`
    return (await this.alice('PUT', path, { msgtype: 'm.text', body })).event_id as string
  }

  async talk(texts: readonly string[], wish?: object): Promise<{ roomId: string; ids: string[] }> {
    const roomId = await this.room(wish)
    const ids: string[] = []
    for (const text of texts) ids.push(await this.say(roomId, text))
    return { roomId, ids }
  }

  message = (text: string, sender: string, index = 0) => ({
    type: 'm.room.message',
    sender,
    origin_server_ts: ts + index,
    content: { msgtype: 'm.text', body: text },
  })

  join = (userId: string, more: object = {}) => ({
    type: 'm.room.member',
    sender: userId,
    state_key: userId,
    origin_server_ts: ts,
    content: { membership: 'join', displayname: `Old ${userId.slice(1, 6)}` },
    ...more,
  })

  batchOf = (texts: readonly string[], senders: readonly string[]) => ({
    state_events_at_start: [...new Set(senders)].map((sender) => this.join(sender)),
    events: texts.map((text, index) => this.message(text, senders[index % senders.length]!, index)),
  })

  send(roomId: string, query: Record<string, string>, body: object, token?: string) {
    const path = `${unstable}/rooms/${encodeURIComponent(roomId)}/batch_send`
    const search = new URLSearchParams(query).toString()
    return this.ask(token ?? this.#server.asToken, 'POST', `${path}?${search}`, body)
  }

  async batch(roomId: string, behind: string, texts: readonly string[], batchId?: string) {
    const senders = [this.user('maria'), this.user('ricky')]
    const query = { prev_event_id: behind, ...(batchId !== undefined && { batch_id: batchId }) }
    const { status, body } = await this.send(roomId, query, this.batchOf(texts, senders))
    if (status !== 200) throw new Error(`batch_send: ${status} ${JSON.stringify(body)}`)
    return body
  }

  async read(roomId: string, direction: 'b' | 'f', limit = 100): Promise<Event[]> {
    const events: Event[] = []
    let from = ''
    for (;;) {
      const path = `${v3}/rooms/${encodeURIComponent(roomId)}/messages?dir=${direction}&limit=${limit}${from}`
      const { chunk, end } = await this.alice('GET', path)
      events.push(...(chunk as Event[]))
      if (end === undefined || chunk.length === 0) break
      from = `&from=${encodeURIComponent(end)}`
    }
    return direction === 'b' ? events.reverse() : events
  }

  async texts(roomId: string, direction: 'b' | 'f' = 'b', limit?: number): Promise<string[]> {
    return this.#bodies(await this.read(roomId, direction, limit))
  }

  /** Texts and types from the first message on. */
  async words(roomId: string): Promise<string[]> {
    const words = (await this.read(roomId, 'b')).map(({ type, content }) => content.body ?? type)
    return words.slice(words.indexOf('a'))
  }

  #bodies = (events: readonly Event[]): string[] =>
    events.filter(({ type }) => type === 'm.room.message').map(({ content }) => content.body)

  /** All that is compared, by what it is about. */
  async tell(): Promise<Told> {
    return {
      ...(await this.#order()),
      ...(await this.#state()),
      ...(await this.#refusals()),
      ...(await this.#versions()),
    }
  }

  async #order(): Promise<Told> {
    const told: Told = {}
    const { roomId, ids } = await this.talk(['a', 'b', 'c'])
    const { next_batch: since } = await this.alice('GET', `${v3}/sync?timeout=0`)
    const first = await this.batch(roomId, ids[0]!, ['h3', 'h4'])
    const second = await this.batch(roomId, ids[0]!, ['h1', 'h2'], first.next_batch_id)
    told['keys of the first answer'] = Object.keys(first).sort()
    told['keys of the second answer'] = Object.keys(second).sort()
    told['events of an answer'] = [second.event_ids.length, second.state_event_ids.length]
    told['order'] = await this.texts(roomId)
    for (const limit of [1, 3])
      for (const dir of ['b', 'f'] as const)
        told[`order ${dir} by ${limit}`] = await this.texts(roomId, dir, limit)
    told['order of all'] = await this.words(roomId)
    const path = `${v3}/rooms/${encodeURIComponent(roomId)}`
    const contentOf = async (id: string) =>
      Object.keys(
        (await this.alice('GET', `${path}/event/${encodeURIComponent(id)}`)).content,
      ).sort()
    told['content of an insertion event'] = await contentOf(first.base_insertion_event_id)
    told['content of a batch event'] = await contentOf(first.batch_event_id)
    told['content of a message'] = await contentOf(first.event_ids[0])
    await this.say(roomId, 'd')
    const { rooms } = await this.alice('GET', `${v3}/sync?timeout=0&since=${since}`)
    told['in /sync'] = this.#bodies(rooms.join[roomId].timeline.events)
    const members = await this.alice('GET', `${path}/joined_members`)
    told['who is in the room'] = Object.keys(members.joined).length

    const tip = await this.talk(['a'])
    await this.batch(tip.roomId, tip.ids[0]!, ['h1', 'h2'])
    await this.say(tip.roomId, 'b')
    told['order behind the newest event'] = await this.texts(tip.roomId)

    const twice = await this.talk(['a', 'b'])
    const body = this.batchOf(['h1'], [this.user('maria')])
    for (let i = 0; i < 2; i++)
      await this.send(twice.roomId, { prev_event_id: twice.ids[0]! }, body)
    told['a request that is repeated'] = await this.texts(twice.roomId)

    const separate = await this.talk(['a', 'b'])
    await this.batch(separate.roomId, separate.ids[0]!, ['h1'])
    await this.batch(separate.roomId, separate.ids[0]!, ['g1'])
    told['order of two first batches'] = await this.texts(separate.roomId)
    return told
  }

  async #state(): Promise<Told> {
    const told: Told = {}
    const { roomId, ids } = await this.talk(['a', 'b'], { name: 'Now' })
    const path = `${v3}/rooms/${encodeURIComponent(roomId)}`
    const body = this.batchOf(['h1'], [this.user('maria')])
    const named = await this.send(
      roomId,
      { prev_event_id: ids[0]! },
      {
        ...body,
        state_events_at_start: [
          {
            type: 'm.room.name',
            sender: this.bot,
            state_key: '',
            origin_server_ts: ts,
            content: { name: 'Then' },
          },
          ...body.state_events_at_start,
        ],
      },
    )
    told['other state at the start'] = [named.status, named.body.state_event_ids?.length]
    told['the name of the room'] = (await this.alice('GET', `${path}/state/m.room.name`)).name
    const filter = encodeURIComponent('{"lazy_load_members":true}')
    const at = encodeURIComponent(named.body.event_ids[0])
    const { state } = await this.alice('GET', `${path}/context/${at}?limit=0&filter=${filter}`)
    told['the name of a speaker'] = (state as Event[]).find(
      (each) => each.state_key === this.user('maria'),
    )?.content.displayname
    const page = await this.alice('GET', `${path}/messages?dir=b&limit=100`)
    told['the name of a speaker on a page'] = ((page.state ?? []) as Event[]).find(
      (each) => each.state_key === this.user('maria'),
    )?.content.displayname
    told['joins that are read'] = (await this.read(roomId, 'b')).filter(
      (each) => each.state_key === this.user('maria'),
    ).length

    const secret = await this.talk(['a', 'b'], { preset: 'private_chat' })
    const uninvited = await this.send(secret.roomId, { prev_event_id: secret.ids[0]! }, body)
    told['a private room without an invite'] = [uninvited.status, uninvited.body.errcode]
    const invite = this.join(this.user('maria'), {
      sender: this.bot,
      content: { membership: 'invite' },
    })
    const invited = await this.send(
      secret.roomId,
      { prev_event_id: secret.ids[0]! },
      {
        ...body,
        state_events_at_start: [invite, ...body.state_events_at_start],
      },
    )
    told['a private room with an invite'] = [invited.status, invited.body.state_event_ids?.length]
    return told
  }

  async #refusals(): Promise<Told> {
    const { roomId, ids } = await this.talk(['a', 'b'])
    const good = this.batchOf(['h'], [this.user('maria')])
    const from = { prev_event_id: ids[0]! }
    const sent = await this.batch(roomId, ids[0]!, ['x'])
    const room = encodeURIComponent(roomId)
    const { asToken, alice } = this.#server
    const without = (key: string) => {
      const { [key]: _, ...event } = this.message('h', this.user('maria')) as Record<
        string,
        unknown
      >
      return this.send(roomId, from, { ...good, events: [event] })
    }
    const { state_key: _, ...keyless } = this.join(this.user('maria'))
    const asGhost = `user_id=${encodeURIComponent(this.user('maria'))}`
    await this.as('POST', `${v3}/join/${room}?${asGhost}`, {})
    const redact = (id: string) =>
      this.ask(
        asToken,
        'PUT',
        `${v3}/rooms/${room}/redact/${encodeURIComponent(id)}/r${++this.#txns}`,
        {},
      )
    const answers: Record<string, Promise<Answer>> = {
      'a plain user': this.send(roomId, from, good, alice.token),
      'no prev_event_id': this.send(roomId, {}, good),
      'an unknown prev_event_id': this.send(roomId, { prev_event_id: '$unknown' }, good),
      'an unknown batch_id': this.send(roomId, { ...from, batch_id: 'unknown' }, good),
      'no events': this.send(roomId, from, { state_events_at_start: [] }),
      'no state_events_at_start': this.send(roomId, from, { events: good.events }),
      'an empty batch': this.send(roomId, from, { ...good, events: [] }),
      'an event without sender': without('sender'),
      'an event without type': without('type'),
      'an event without content': without('content'),
      'an event without time': without('origin_server_ts'),
      'state without state_key': this.send(roomId, from, {
        ...good,
        state_events_at_start: [keyless],
      }),
      'a sender of another server': this.send(
        roomId,
        from,
        this.batchOf(['h'], ['@maria:elsewhere.test']),
      ),
      'a sender outside of the namespace': this.send(
        roomId,
        from,
        this.batchOf(['h'], [alice.userId]),
      ),
      'a sender who is not registered': this.send(
        roomId,
        from,
        this.batchOf(['h'], [this.user('maria-nobody')]),
      ),
      'a sender who is not in the room': this.send(roomId, from, {
        ...this.batchOf(['h'], [this.user('ricky')]),
        state_events_at_start: [],
      }),
      'the same next_batch_id': this.ask(
        asToken,
        'PUT',
        `${v3}/rooms/${room}/send/org.matrix.msc2716.insertion/i`,
        { next_batch_id: sent.next_batch_id },
      ),
      'a redaction of an insertion event': redact(sent.insertion_event_id),
      'a redaction of a batch event': redact(sent.batch_event_id),
      'somebody who is not the creator': this.send(
        roomId,
        { prev_event_id: await this.say(roomId, 'c'), user_id: this.user('maria') },
        { ...good, state_events_at_start: [] },
      ),
      'PUT, as it was in 1.37': this.ask(
        asToken,
        'PUT',
        `${unstable}/rooms/${room}/batch_send?prev_event=${encodeURIComponent(ids[0]!)}`,
        good,
      ),
      'the path that was to be stable': this.ask(
        asToken,
        'POST',
        `/_matrix/client/v1/rooms/${room}/batch_send?prev_event_id=${encodeURIComponent(ids[0]!)}`,
        good,
      ),
    }
    const told: Told = {}
    for (const [what, answer] of Object.entries(answers)) {
      const { status, body } = await answer
      told[what] = status === 200 ? [status] : [status, body.errcode]
    }
    return told
  }

  async #versions(): Promise<Told> {
    const told: Told = {}
    const features = await this.ask('', 'GET', '/_matrix/client/versions')
    told['/versions'] = features.body.unstable_features['org.matrix.msc2716']
    const { roomId, ids } = await this.talk(['a', 'b'], { room_version: 'org.matrix.msc2716v4' })
    const path = `${v3}/rooms/${encodeURIComponent(roomId)}`
    const levels = await this.as('GET', `${path}/state/m.room.power_levels`)
    told['v4: the power'] = levels.historical
    const sent = await this.batch(roomId, ids[0]!, ['h1'])
    told['v4: order'] = await this.words(roomId)
    const at = encodeURIComponent(sent.insertion_event_id)
    await this.as('PUT', `${path}/redact/${at}/r`, {})
    const { content } = await this.alice('GET', `${path}/event/${at}`)
    told['v4: what a redaction leaves'] = Object.keys(content)
    const refused = await this.ask(
      this.#server.alice.token,
      'PUT',
      `${path}/send/org.matrix.msc2716.insertion/x`,
      { next_batch_id: 'x' },
    )
    told['v4: too little power'] = refused.status
    const v3room = await this.ask(this.#server.asToken, 'POST', `${v3}/createRoom`, {
      room_version: 'org.matrix.msc2716v3',
    })
    told['v3: a room'] = v3room.status
    return told
  }
}
