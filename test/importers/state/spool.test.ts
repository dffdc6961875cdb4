import { expect, test } from 'bun:test'
import type { Item, Message, Problem } from '#importers/format.ts'
import { openState } from '#importers/state/database.ts'
import { Ledger } from '#importers/state/ledger.ts'
import { Problems } from '#importers/state/problems.ts'
import { resolve } from '#importers/state/resolve.ts'
import { Spool, type SpooledRow } from '#importers/state/spool.ts'

const now = Date.UTC(2024, 0, 1)
const at = (seconds: number) => now - 1_000_000 + seconds * 1000

const message = (id: string, more: Partial<Message> = {}): Message => ({
  kind: 'message',
  room: 'r',
  id,
  sender: 'u',
  time: at(0),
  body: id,
  place: { file: 'export.json', line: 1 },
  ...more,
})

/** What comes out of the spool of what was put in. */
function sorted(items: readonly Item[]): { rows: SpooledRow[]; problems: Problem[] } {
  const db = openState(':memory:')
  const problems = new Problems(db)
  const spool = new Spool(db, problems, 0, { now })
  for (const item of [{ kind: 'person', id: 'u' } as const, ...items]) spool.add(item)
  spool.flush()
  resolve(db, problems, 0)
  const session = {
    number: 1,
    room: 1,
    room_id: '',
    session_id: '',
    mode: 'fresh',
    until_seq: Number.MAX_SAFE_INTEGER,
    since: 0,
    until: Number.MAX_SAFE_INTEGER,
    people: 'ghosts' as const,
    moves: 0,
    media: 1,
    state: 'open' as const,
    accepted: 0,
  }
  const ledger = new Ledger(db)
  const rows: SpooledRow[] = []
  // A small page, so that the cursor is tried too.
  for (let page = ledger.page(session, undefined, 2); page.length > 0;) {
    rows.push(...page)
    page = ledger.page(session, page.at(-1), 2)
  }
  return { rows, problems: [...problems.all()] }
}

const ids = (rows: readonly SpooledRow[]) => rows.map(({ id }) => id)

test('records come out by time, and of one time in the order read', () => {
  const { rows } = sorted([
    message('d', { time: at(9) }),
    message('b', { time: at(5) }),
    message('c', { time: at(5) }),
    message('a', { time: at(1) }),
  ])
  expect(ids(rows)).toEqual(['a', 'b', 'c', 'd'])
})

test('fractions of a millisecond and orders that the export gives decide within one time', () => {
  const { rows } = sorted([
    message('c', { time: at(5) + 0.5, order: '1' }),
    message('b', { time: at(5), order: '2' }),
    message('a', { time: at(5), order: '1' }),
  ])
  expect(ids(rows)).toEqual(['a', 'b', 'c'])
})

test.each([
  ['no time', Number.NaN],
  ['before chats', -1],
  ['seconds taken for milliseconds', 1_600_000_000],
  ['in the far future', Date.UTC(2300, 0, 1)],
])('%s: the record goes behind the one before it, and is told', (_, time) => {
  const { rows, problems } = sorted([
    message('a', { time: at(1) }),
    message('b', { time }),
    message('c', { time: at(2) }),
  ])
  expect(ids(rows)).toEqual(['a', 'b', 'c'])
  expect(JSON.parse(rows[1]!.json)).toMatchObject({ time: at(1) })
  expect(problems).toMatchObject([{ class: 'bad_time', id: 'b', done: 'degraded' }])
})

test('an author of whom nothing is told gets a placeholder, told once', () => {
  const { rows, problems } = sorted([
    message('a', { sender: 'gone' }),
    message('b', { sender: 'gone' }),
  ])
  expect(ids(rows)).toEqual(['a', 'b'])
  expect(problems).toMatchObject([{ class: 'unknown_author', id: 'gone', done: 'degraded' }])
})

test('a reply whose parent is missing stands alone; a reaction to nothing is told and left', () => {
  const { rows, problems } = sorted([
    message('a', { replyTo: 'gone', thread: 'gone' }),
    { kind: 'reaction', room: 'r', id: 'x', sender: 'u', time: at(1), target: 'gone', key: '👍' },
    {
      kind: 'notice',
      about: 'pin',
      room: 'r',
      id: 'p',
      sender: 'u',
      time: at(2),
      body: 'pinned',
      replyTo: 'gone',
    },
  ])
  expect(rows).toMatchObject([
    { id: 'a', thread: null, target: null },
    { id: 'p', target: null },
  ])
  expect(problems.map(({ class: what, id, done }) => [what, id, done])).toEqual([
    ['missing_parent', 'a', 'degraded'],
    ['missing_parent', 'x', 'skipped'],
    ['missing_parent', 'p', 'degraded'],
  ])
})

test('what refers to a later record goes right behind it', () => {
  const { rows, problems } = sorted([
    message('reply to reply', { time: at(1), replyTo: 'reply' }),
    message('reply', { time: at(2), replyTo: 'root' }),
    message('between', { time: at(3) }),
    message('root', { time: at(4) }),
    message('after', { time: at(5) }),
  ])
  expect(ids(rows)).toEqual(['between', 'root', 'reply', 'reply to reply', 'after'])
  expect(problems).toEqual([])
  expect(rows.map(({ target }) => target)).toEqual([null, null, 'root', 'reply', null])
})

test('circles are broken, and every record of them is kept', () => {
  const { rows, problems } = sorted([
    message('a', { replyTo: 'b' }),
    message('b', { replyTo: 'a' }),
    message('self', { replyTo: 'self', thread: 'self' }),
    message('t1', { thread: 't2' }),
    message('t2', { thread: 't1' }),
  ])
  expect(ids(rows).toSorted()).toEqual(['a', 'b', 'self', 't1', 't2'])
  expect(new Set(problems.map((each) => each.class))).toEqual(new Set(['cycle']))
  expect(new Set(problems.map((each) => each.id))).toContain('self')
  // Whatever is left stands before what refers to it.
  const seen = new Set<string>()
  for (const { id, thread, target } of rows) {
    for (const parent of [thread, target]) if (parent !== null) expect(seen).toContain(parent)
    seen.add(id)
  }
})

test('a thread within a thread is part of the outer one', () => {
  const { rows } = sorted([
    message('root'),
    message('reply', { time: at(1), thread: 'root' }),
    message('deeper', { time: at(2), thread: 'reply' }),
  ])
  expect(rows.map(({ thread }) => thread)).toEqual([null, 'root', 'root'])
})

test('a deleted message is kept where something hangs on it, and nowhere else', () => {
  const { rows, problems } = sorted([
    message('root', { deleted: true }),
    message('alone', { deleted: true }),
    message('reply', { time: at(1), thread: 'root' }),
  ])
  expect(ids(rows)).toEqual(['root', 'reply'])
  expect(problems).toEqual([])
})

test('a record that the export has twice is taken once', () => {
  const { rows, problems } = sorted([message('a'), message('a', { body: 'again' })])
  expect(ids(rows)).toEqual(['a'])
  expect(problems).toMatchObject([{ class: 'duplicate', id: 'a', done: 'left_out' }])
})
