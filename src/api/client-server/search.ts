import { Type as t } from '@sinclair/typebox'
import { audienceOf, limitIn, writeEvents } from '#api/client-server/room/reading.ts'
import { op } from '#api/http/op.ts'
import { invalidParam } from '#core/error.ts'
import { EventFilter, parseEventFilter } from '#core/filter.ts'
import type { JsonObject } from '#core/json.ts'
import { Content, open } from '#core/schema.ts'
import { searchedTypes, typeOfKey } from '#core/search.ts'
import { writeEvent } from '#engine/read/events.ts'
import {
  type Result,
  type Results,
  profilesAt,
  searchEvents,
  statesOf,
} from '#engine/read/search.ts'

const Criteria = open({
  search_term: t.String(),
  keys: t.Optional(t.Array(t.String())),
  filter: t.Optional(Content),
  order_by: t.Optional(t.Union([t.Literal('recent'), t.Literal('rank')])),
  event_context: t.Optional(
    open({
      before_limit: t.Optional(t.Integer()),
      after_limit: t.Optional(t.Integer()),
      include_profile: t.Optional(t.Boolean()),
    }),
  ),
  include_state: t.Optional(t.Boolean()),
  groupings: t.Optional(
    open({ group_by: t.Optional(t.Array(open({ key: t.Optional(t.String()) }))) }),
  ),
})

type Criteria = typeof Criteria.static

/** Longer terms are nobody's words. */
const maxTerm = 1_000

export const search = op({
  id: 'search',
  method: 'POST',
  path: '/_matrix/client/v3/search',
  also: ['/_matrix/client/r0/search'],
  auth: 'user',
  admits: ['suspended'],
  limit: 'lookup',
  query: open({ next_batch: t.Optional(t.String()) }),
  body: open({ search_categories: open({ room_events: t.Optional(Criteria) }) }),
  response: open({ search_categories: open({ room_events: t.Optional(Content) }) }),

  async run({ who, query, body }, ctx) {
    const criteria = body.search_categories.room_events
    if (!criteria) return { search_categories: {} }
    const filter = filterOf(criteria)
    if (criteria.search_term.length > maxTerm) throw invalidParam("'search_term' is too long")
    const { event_context: context } = criteria
    const found = await searchEvents(ctx, {
      userId: who.userId,
      term: criteria.search_term,
      types: typesOf(criteria).filter((type) => filter.types.accepts(type)),
      filter,
      byRank: criteria.order_by !== 'recent',
      nextBatch: query.next_batch,
      limit: Math.max(1, limitIn(filter.limit, 10, 100)),
      context: context && {
        before: limitIn(context.before_limit, 5, 20),
        after: limitIn(context.after_limit, 5, 20),
      },
    })
    const { results, seen } = found
    const all = results.flatMap(({ event, before, after }) => [event, ...before, ...after])
    const unique = [...new Map(all.map((event) => [event.nid, event])).values()]
    const [written, profiles, state] = await Promise.all([
      writeEvents(ctx, who, unique, seen),
      context?.include_profile ? profilesAt(ctx, results) : undefined,
      criteria.include_state ? statesOf(ctx, found) : undefined,
    ])
    const json = new Map(unique.map(({ nid }, at) => [nid, written[at]!]))
    const audience = audienceOf(ctx, who)
    const groups = groupsOf(criteria, results)
    return {
      search_categories: {
        room_events: {
          count: found.count,
          highlights: [...found.highlights],
          results: results.map((result) => ({
            rank: result.rank,
            result: json.get(result.event.nid)!,
            ...(context && {
              context: writeContext(result, json, profiles?.get(result.event.nid)),
            }),
          })),
          ...(state && { state: byRoom(state.map((each) => writeEvent(each, audience))) }),
          ...(groups && { groups }),
          ...(found.next !== undefined && { next_batch: found.next }),
        },
      },
    }
  },
})

function filterOf({ filter }: Criteria): EventFilter {
  if (filter === undefined) return new EventFilter()
  const parsed = parseEventFilter(filter)
  if (typeof parsed === 'string') throw invalidParam(`'filter': ${parsed}`)
  return parsed
}

function typesOf({ keys }: Criteria): readonly string[] {
  if (!keys) return searchedTypes
  return keys.map((key) => {
    const type = typeOfKey(key)
    if (type === undefined) throw invalidParam(`'${key}' is not searched`)
    return type
  })
}

const writeContext = (
  { before, after, start, end }: Result,
  json: ReadonlyMap<number, JsonObject>,
  profiles: Record<string, JsonObject> | undefined,
) => ({
  events_before: before.map(({ nid }) => json.get(nid)!),
  events_after: after.map(({ nid }) => json.get(nid)!),
  ...(start !== undefined && { start }),
  ...(end !== undefined && { end }),
  ...(profiles && { profile_info: profiles }),
})

function byRoom(events: readonly JsonObject[]): Record<string, JsonObject[]> {
  const rooms: Record<string, JsonObject[]> = {}
  for (const event of events) (rooms[event['room_id'] as string] ??= []).push(event)
  return rooms
}

/** The results by room or by sender, in the order of their first. */
function groupsOf({ groupings }: Criteria, results: Results['results']) {
  if (!groupings?.group_by) return undefined
  const groups: Record<string, Record<string, { order: number; results: string[] }>> = {}
  for (const { key } of groupings.group_by) {
    if (key !== 'room_id' && key !== 'sender') throw invalidParam("'group_by' has an unknown key")
    const found: Record<string, { order: number; results: string[] }> = {}
    for (const { event } of results) {
      const { eventId, sender } = event.event
      const name = key === 'sender' ? sender : event.room.roomId
      const group = (found[name] ??= { order: Object.keys(found).length + 1, results: [] })
      group.results.push(eventId)
    }
    groups[key] = found
  }
  return groups
}
