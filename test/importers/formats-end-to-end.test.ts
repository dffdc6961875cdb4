import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { plan } from '#importers/commands/plan.ts'
import { run } from '#importers/commands/run.ts'
import { verify } from '#importers/commands/verify.ts'
import { exportOf } from '#test/importers/exports.ts'
import { until } from '#test/until.ts'
import { importHome, roomPath } from './import-home.ts'
import { quiet } from './prepared.ts'

const { folder, server, admin, joinedRooms } = await importHome('formats')
const console = { ...quiet(), json: false }
const { told } = console

/** The room of a name among those that came to be. */
async function roomNamed(name: string, before: readonly string[]): Promise<string> {
  for (const roomId of await joinedRooms()) {
    if (before.includes(roomId)) continue
    const state = await admin.get<{ type: string; content: { name?: string } }[]>(
      `${roomPath(roomId)}/state`,
    )
    if (state.some(({ type, content }) => type === 'm.room.name' && content.name === name))
      return roomId
  }
  throw new Error(`There is no room ${name}:\n${told.join('\n')}`)
}

type Said = { body: string; thread: string | undefined; reply: string | undefined }

/** What is said in a room, oldest first, with what each message belongs to by its body. */
async function said(roomId: string): Promise<Said[]> {
  const events = (await admin.history(roomId)).filter(({ type }) => type === 'm.room.message')
  const bodyOf = new Map(events.map(({ event_id, content }) => [event_id, String(content['body'])]))
  return events
    .filter(({ content }) => (content['m.relates_to'] as Relation)?.rel_type !== 'm.replace')
    .map(({ content }) => {
      const relation = content['m.relates_to'] as Relation
      const thread = relation?.rel_type === 'm.thread' ? relation.event_id : undefined
      const reply = relation?.is_falling_back ? undefined : relation?.['m.in_reply_to']?.event_id
      return {
        body: String(content['body']),
        thread: thread && bodyOf.get(thread),
        reply: reply && bodyOf.get(reply),
      }
    })
}

type Relation =
  | {
      rel_type?: string
      event_id?: string
      is_falling_back?: boolean
      'm.in_reply_to'?: { event_id: string }
    }
  | undefined

/** Imports an export and proves it; answers what is said in the room of a name. */
async function imported(name: string, parts: string[], room: string, media: boolean) {
  const access = { token: admin.token, tokenFile: undefined }
  const out = join(folder, `${name}.toml`)
  const exported = await exportOf(...parts)
  const before = await joinedRooms()
  await plan(
    exported,
    { ...access, server: server.clientUrl, out, format: name, source: name },
    console,
  )
  await run(out, { ...access, jobs: 2, media }, console)
  const roomId = await roomNamed(room, before)
  // The index of relations comes after the events.
  const proven = () => verify(undefined, { ...access, plan: out, sample: 10, full: true }, console)
  await until(async () => (await proven()) === 0)
  return said(roomId)
}

const plain = { thread: undefined, reply: undefined }

test('a Slack export stands in its rooms as it was', async () => {
  const root = 'hi @Bob Real, see docs (https://example.org) & #old-news bold it no `c`'
  const messages = await imported('slack', ['slack/workspace', 'slack/ordinary'], 'general', false)
  expect(messages.filter(({ thread }) => thread === root).map(({ body }) => body)).toContain(
    'also here',
  )
  expect(messages).toContainEqual({ body: root, ...plain })
})

test('a Discord export stands in its rooms as it was', async () => {
  const messages = await imported('discord', ['discord/threads'], 'ideas', false)
  expect(messages).toEqual([
    { body: 'A post\nthe post', ...plain },
    { body: 'a comment', thread: 'A post\nthe post', reply: undefined },
  ])
})

test('a Mattermost export stands in its rooms as it was, with its files', async () => {
  const messages = await imported('mattermost', ['mattermost/ordinary'], 'C', true)
  const root = 'hi @bob, see ~d 🎉 :corp-logo: **bold**'
  expect(messages).toEqual([
    { body: root, ...plain },
    expect.objectContaining({ body: 'a.png' }),
    { body: 'yo', thread: root, reply: undefined },
    { body: 'waves', ...plain },
  ])
})

test('a Zulip export stands in its rooms as it was, topics as threads, with its files', async () => {
  const messages = await imported('zulip', ['zulip/realm', 'zulip/ordinary'], 'general', true)
  const root = 'greetings\nhi @Bob B, see #core team > plans 🎉 **bold**'
  expect(messages.map(({ body, thread }) => [body, thread])).toEqual([
    [root, undefined],
    ['a b.png', root],
    ['plans\nother topic', undefined],
    ['waves', root],
    // As it was first: its later forms stand behind, as edits.
    ['first', root],
    ['stream events\nstream events', undefined],
  ])
})
