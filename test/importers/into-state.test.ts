import { expect, test } from 'bun:test'
import type { Database } from 'bun:sqlite'
import { formats } from '#importers/formats.ts'
import { openSource } from '#importers/source/open.ts'
import { openState } from '#importers/state/database.ts'
import { Problems } from '#importers/state/problems.ts'
import { readExport } from '#importers/state/reading.ts'
import { newFolder } from '#test/folder.ts'
import { exportOf } from '#test/importers/exports.ts'

/** Reads an export into what a run remembers, as the command line does; answers how many records are new. */
async function into(db: Database, name: string, path: string): Promise<number> {
  const problems = new Problems(db)
  const source = await openSource(path, (problem) => problems.add('read', problem))
  try {
    const format = formats.find((each) => each.name === name)!
    return (await readExport(db, problems, { source, format, options: {} })).records
  } finally {
    await source.close()
  }
}

const newState = async () => openState(await newFolder('state'))

/** Relations that are left once everything is read, as `message -> root` and `message > answered`. */
function relations(db: Database): string[] {
  const rows = db
    .query<{ id: string; thread: string | null; target: string | null }, []>(
      'select id, thread, target from record where thread is not null or target is not null order by room, time, tie, seq',
    )
    .all()
  return rows.flatMap(({ id, thread, target }) => [
    ...(thread === null ? [] : [`${id} -> ${thread}`]),
    ...(target === null ? [] : [`${id} > ${target}`]),
  ])
}

const troubles = (db: Database) =>
  db
    .query<{ line: string }, []>(
      "select class || ' ' || done || ' ' || id as line from problem order by line",
    )
    .all()
    .map(({ line }) => line)

test.each([
  [
    'slack',
    ['slack/workspace', 'slack/ordinary'],
    10,
    ['1500000160.000100 -> 1500000100.000200', '1500000203.000300 -> 1500000100.000200'],
  ],
  [
    'discord',
    ['discord/ordinary'],
    7,
    [
      '1000000000000000002 > 1000000000000000001',
      '1000000000000000004 > 1000000000000000001',
      '1000000000000000008 -> 1000000000000000002',
    ],
  ],
  ['mattermost', ['mattermost/ordinary'], 5, ['1600000002000-bob -> 1600000000123-alice']],
  ['zulip', ['zulip/realm', 'zulip/ordinary'], 10, ['101 -> 100', '103 -> 100', '108 -> 100']],
])(
  'all of an export of %s comes through, once, with its relations',
  async (name, parts, count, related) => {
    const db = await newState()
    expect(await into(db, name, await exportOf(...parts))).toBe(count)
    expect(relations(db)).toEqual(related)
    expect(troubles(db)).toEqual([])
    // The same export elsewhere, as a later one would be.
    expect(await into(db, name, await exportOf(...parts))).toBe(0)
    expect(relations(db)).toEqual(related)
    db.close()
  },
)

test('cycles of answers, answers to nothing, strangers and times that cannot be lose no message', async () => {
  const said = (id: string, replyTo?: string, more: object = {}) => ({
    id,
    type: 'Default',
    timestamp: '2022-07-22T11:22:59+00:00',
    content: `text ${id}`,
    author: { id: '10', name: 'alice' },
    ...(replyTo && { reference: { messageId: replyTo, channelId: '200' } }),
    ...more,
  })
  const messages = [
    said('101', '102'),
    said('102', '103'),
    said('103', '101'),
    said('104', '104'),
    said('105', '999'),
    said('106', undefined, { author: null }),
    said('107', undefined, { timestamp: '0001-01-01T00:00:00+00:00' }),
    said('108', undefined, { timestamp: '9999-12-31T23:59:59+00:00' }),
    said('101', undefined, { content: 'the same ID again' }),
    said('109', '108'),
  ]
  const db = await newState()
  const file = {
    guild: { id: '1' },
    channel: { id: '200', name: 'general' },
    messages,
    messageCount: 10,
  }
  await into(db, 'discord', await exportOf({ 'a.json': file }))
  const kept = db
    .query<{ id: string }, []>('select id from record where state = 0 order by id')
    .all()
  const ids = kept.map(({ id }) => id)
  for (const id of ['101', '102', '103', '104', '105', '106', '109']) expect(ids).toContain(id)
  // One answer of the circle is none any more, and every relation leads to a record.
  const targets = relations(db).map((line) => line.split(' > ')[1]!)
  expect(targets.every((id) => ids.includes(id))).toBe(true)
  const told = troubles(db).map((line) => line.split(' ')[0]!)
  for (const kind of ['cycle', 'missing_parent', 'bad_time', 'duplicate'])
    expect(told).toContain(kind)
  db.close()
})
