import { expect, test } from 'bun:test'
import { openTestDatabase } from '#test/database.ts'
import { message } from '#test/engine/room/import/importing.ts'
import { Program, run, until } from '#test/program/program.ts'

const sessions = '/_laneway/import/v1/sessions'
const kills = Number(process.env['LANEWAY_KILLS'] ?? 4)
const perBatch = 150
const batches = 3
const ghost = '@_import_ann:localhost'

const records = Array.from({ length: perBatch * batches }, (_, index) =>
  message(`m${index}`, ghost, 1_400_000_000_000 + 1_000 * index, {
    ...(index % 10 === 7 && { relates: { reply: `m${index - 5}` } }),
  }),
)
const imported = records.map((record) => record['src_id'] as string)

type Json = Record<string, any>

/** An administrator whose requests are sent again until they are answered. */
class Importer {
  readonly #program: Program
  readonly #token: string
  /** Requests that were broken off. */
  broken = 0

  constructor(program: Program, token: string) {
    this.#program = program
    this.#token = token
  }

  ask(method: string, path: string, body?: object): Promise<Json> {
    return until(`${method} ${path}`, async () => {
      const response = await this.#once(method, path, body).catch(() => {
        this.broken++
      })
      // It was killed while it answered.
      const answer = await response?.json().catch(() => undefined)
      if (!response || answer === undefined || [429, 503].includes(response.status))
        return undefined
      if (!response.ok) {
        const why = (await this.#program.complaints()).join('\n')
        throw new Error(`${response.status} ${path}: ${JSON.stringify(answer)}\n${why}`)
      }
      return answer as Json
    })
  }

  #once(method: string, path: string, body?: object): Promise<Response> {
    return this.#program.fetch(path, {
      method,
      headers: { authorization: `Bearer ${this.#token}` },
      ...(body && { body: JSON.stringify(body) }),
    })
  }
}

/** A room into which the same is imported again and again. */
class Round {
  readonly #importer: Importer
  readonly #room: string
  #txn = 0

  private constructor(importer: Importer, room: string) {
    this.#importer = importer
    this.#room = room
  }

  static async open(importer: Importer): Promise<Round> {
    const { room_id: room } = await importer.ask('POST', '/_matrix/client/v3/createRoom', {})
    const round = new Round(importer, room as string)
    for (const text of ['before', 'after']) await round.#say(text)
    return round
  }

  async #say(body: string): Promise<void> {
    const path = `/_matrix/client/v3/rooms/${encodeURIComponent(this.#room)}/send/m.room.message`
    await this.#importer.ask('PUT', `${path}/${this.#txn++}`, { msgtype: 'm.text', body })
  }

  /** Imports it; the session. */
  async bring(count = batches): Promise<string> {
    const wish = { source: 'x', mode: 'insert', position: { at_start: true } }
    const opened = await this.#importer.ask('POST', sessions, { room_id: this.#room, ...wish })
    const session = opened['session_id'] as string
    for (let batch = 0; batch < count; batch++) {
      const answer = await this.#importer.ask('PUT', `${sessions}/${session}/batches/${batch}`, {
        people: [{ user_id: ghost }],
        records: records.slice(batch * perBatch, (batch + 1) * perBatch),
      })
      expect(answer).toMatchObject({ accepted: perBatch, duplicates: 0, failed: [] })
    }
    return session
  }

  end(session: string, step: 'commit' | 'abort' | 'undo'): Promise<Json> {
    return this.#importer.ask('POST', `${sessions}/${session}/${step}`)
  }

  /** Everything that is said in the room, oldest first. */
  async read(): Promise<string[]> {
    const texts: string[] = []
    for (let from: string | undefined, first = true; first || from; first = false) {
      const query = `dir=b&limit=200${from ? `&from=${encodeURIComponent(from)}` : ''}`
      const path = `/_matrix/client/v3/rooms/${encodeURIComponent(this.#room)}/messages?${query}`
      const answer = await this.#importer.ask('GET', path)
      for (const { type, content } of answer['chunk'] as Json[])
        if (type === 'm.room.message') texts.push(content.body)
      from = answer['end'] as string | undefined
    }
    return texts.reverse()
  }

  /** One import in full, and what is read after each step. */
  async run(): Promise<void> {
    const dropped = await this.bring(2)
    await this.end(dropped, 'abort')
    const session = await this.bring()
    const done = await this.end(session, 'commit')
    expect(done).toMatchObject({ accepted: imported.length, degraded: 0, lost: [] })
    expect(await this.read()).toEqual([...imported, 'before', 'after'])
    expect(await this.end(session, 'undo')).toEqual({ session_id: session, state: 'undone' })
    expect(await this.read()).toEqual(['before', 'after'])
  }
}

test('killed at any moment of imports, the server goes on with them: all of each is there once and in order, or nothing', async () => {
  await using database = await openTestDatabase()
  await using program = await Program.start({ database: database.url })
  const password = 'the password of root'
  const options = { input: password }
  await run(['user', 'add', 'root', '--admin', '--config', program.config], options)
  const login = (await (await program.logIn('root', password)).json()) as { access_token: string }
  const importer = new Importer(program, login.access_token)
  const rounds = await Promise.all([
    Round.open(importer),
    Round.open(importer),
    Round.open(importer),
  ])

  let isOver = false
  const running = rounds.map(async (round) => {
    while (!isOver) await round.run()
    const session = await round.bring()
    await round.end(session, 'commit')
    return round.read()
  })
  const killing = async () => {
    for (let kill = 0; kill < kills; kill++) {
      await Bun.sleep(200 + Math.random() * 800)
      await program.end('SIGKILL')
      await program.start()
    }
    isOver = true
  }
  const [texts] = await Promise.all([Promise.all(running), killing()])
  for (const each of texts) expect(each).toEqual([...imported, 'before', 'after'])
  expect(importer.broken).toBeGreaterThan(0)

  // What was to be tidied up is, and nothing is left of what nobody saw.
  await until('the tidying', async () => {
    const rows =
      await database.pool`select from import_sessions where untidied or state = 'undoing'`
    return rows.length === 0
  })
  const left = await database.pool`
    select e.event_nid from import_chains c join events e using (shard, chain)
    where c.published_at is null`
  expect(left).toHaveLength(0)
  const [records] = await database.pool<{ count: number }[]>`
    select count(*)::int as count from import_records`
  expect(records!.count).toBe(rounds.length * imported.length)
  const heads =
    await database.pool`select room_nid from extremities group by room_nid having count(*) > 1`
  expect(heads).toHaveLength(0)
  expect((await program.complaints()).filter((each) => !each.startsWith('warn'))).toEqual([])
})
