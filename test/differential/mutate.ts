import { parseJson } from '#core/canonical-json.ts'
import { inspectPdu } from '#core/event/check.ts'
import { domainOf } from '#core/ids.ts'
import { isObject, rawNumber, setKey, type Json, type JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import type { EventCase } from './generate.ts'
import { users } from './generate.ts'
import { finishEvent } from './make-event.ts'
import { someLevel } from './propose.ts'
import type { Random } from './random.ts'

/** What a mutation may draw from. */
type Lab = Readonly<{
  random: Random
  version: RoomVersion
  pdu: JsonObject
  content: JsonObject
  room: readonly string[]
  foreign: readonly string[]
  create: string
}>

/** Changes an event here and there; the result is still in the format of its room version. */
export function mutate(from: EventCase, random: Random, foreign: readonly string[]): EventCase {
  const { version } = from.event
  for (let attempt = 0; attempt < 20; attempt++) {
    const pdu = parseJson(JSON.stringify(from.event.pdu)) as JsonObject
    const room = [...from.known.keys()]
    for (let change = 0; change <= random.below(2); change++) {
      const { content } = pdu
      if (!isObject(content)) break
      const lab = { random, version, pdu, content, room, foreign, create: room[0]! }
      random.pick(mutationsFor(pdu))(lab)
    }
    sign(version, pdu)
    delete pdu['hashes']
    const event = finishEvent(version, pdu)
    if (typeof inspectPdu(version, event.pdu) !== 'string') return { ...from, event }
  }
  return from
}

/** The sender's server has signed; in v1–v2 the ID is of the sender's server. */
function sign(version: RoomVersion, pdu: JsonObject): void {
  const sender = pdu['sender']
  const server = typeof sender === 'string' ? domainOf(sender) : undefined
  if (server === undefined || !isObject(pdu['signatures'])) return
  pdu['signatures'][server] = { 'ed25519:1': 'c2lnbmVk' }
  const id = pdu['event_id']
  if (version.eventFormat === 'named' && typeof id === 'string')
    pdu['event_id'] = `$m${id.slice(1, id.indexOf(':'))}:${server}`
}

type Mutation = (lab: Lab) => void

const junkValues: readonly Json[] = [null, true, 5, 'x', '', [], {}, ['x'], { x: 1 }]
/** A copy: a later mutation may write into it. */
const anyJunk = (random: Random, ...more: Json[]): Json =>
  structuredClone(random.pick([...junkValues, ...more]))

const oddLevels: readonly Json[] = [null, true, 'abc', '', ' ', '1.5', '0x10', '1e2', [], {}, '+ 1']

const anyEvent: readonly Mutation[] = [
  ({ random, pdu }) => (pdu['sender'] = random.pick(users)),
  ({ random, pdu }) => (pdu['state_key'] = random.pick(['', 'key', '@', ...users])),
  ({ pdu }) => delete pdu['state_key'],
  ({ random, pdu }) => (pdu['type'] = random.pick(['m.room.aliases', 'm.room.topic', 'x', ''])),
  ({ random, pdu }) => (pdu['type'] = random.pick(['m.room.redaction', 'm.room.create'])),
  ({ random, pdu }) => (pdu['room_id'] = random.pick(['!x:a.example', '!x:b.example'])),
  ({ random, pdu, create }) =>
    (pdu['prev_events'] = random.pick([[], [referTo(pdu, create)], pdu['prev_events']!])),
  ({ random, pdu }) => (pdu['redacts'] = anyJunk(random, '$x:a.example', '$x:b.example')),
  ({ random, pdu }) => (pdu['depth'] = random.below(2 ** 31)),
  ({ random, pdu }) => (pdu[random.pick(['origin', 'prev_state', 'x'])] = anyJunk(random)),
  citeLess,
  citeTwice,
  citeMore,
  citeForeign,
  decorate,
]

const ofMember: readonly Mutation[] = [
  ({ random, content }) =>
    (content['membership'] = random.pick(['join', 'invite', 'knock', 'leave', 'ban'])),
  ({ random, content }) => (content['membership'] = anyJunk(random)),
  ({ content }) => delete content['membership'],
  ({ random, content }) =>
    (content['join_authorised_via_users_server'] = anyJunk(random, ...users)),
  ({ random, pdu, content }) => {
    content['join_authorised_via_users_server'] = users[0]
    if (random.chance(0.5)) (pdu['signatures'] as JsonObject)['a.example'] = { 'ed25519:1': 'YQ' }
  },
  ({ random, content }) => (content['third_party_invite'] = anyJunk(random)),
  ({ random, content }) => {
    const signed = isObject(content['third_party_invite'])
      ? content['third_party_invite']['signed']
      : undefined
    if (isObject(signed))
      signed[random.pick(['mxid', 'token', 'signatures', 'x'])] = anyJunk(random)
  },
]

const ofPowerLevels: readonly Mutation[] = [
  ({ random, content }) =>
    (content[random.pick(['ban', 'users_default', 'state_default'])] = random.pick(oddLevels)),
  ({ random, content }) => (content[random.pick(['users', 'events'])] = anyJunk(random)),
  ({ random, content }) => (content['notifications'] = anyJunk(random)),
  ({ random, content }) => {
    const key = random.pick(['nobody', '@x', '@:a.example', '@x:', '@x:b.example:80', '__proto__'])
    if (isObject(content['users'])) setKey(content['users'], key, random.pick([0, '1']))
  },
  ({ random, version, content }) => {
    const map = content[random.pick(['users', 'events'])]
    const key = random.pick([...users, 'm.room.topic', 'constructor'])
    if (isObject(map))
      map[key] = random.pick([random.pick(oddLevels), someLevel({ random, version })])
  },
]

const ofCreate: readonly Mutation[] = [
  ({ random, content }) => (content['creator'] = anyJunk(random, ...users)),
  ({ content }) => delete content['creator'],
  ({ random, content }) => (content['room_version'] = anyJunk(random, '1', '99', '__proto__')),
  ({ random, content }) =>
    (content['additional_creators'] = anyJunk(random, [...users], ['@x'], ['@x:y', 1])),
  ({ random, content }) => (content['m.federate'] = anyJunk(random, false)),
]

function mutationsFor(pdu: JsonObject): readonly Mutation[] {
  switch (pdu['type']) {
    case 'm.room.member':
      return [...anyEvent, ...ofMember, ...ofMember]
    case 'm.room.power_levels':
      return [...anyEvent, ...ofPowerLevels, ...ofPowerLevels, ...ofPowerLevels]
    case 'm.room.create':
      return [...anyEvent, ...ofCreate, ...ofCreate, ...ofCreate]
    default:
      return anyEvent
  }
}

/** Refers to an event as the other references of this PDU do. */
function referTo(pdu: JsonObject, id: string): Json {
  const named = typeof pdu['event_id'] === 'string'
  return named ? [id, { sha256: '' }] : id
}

function citations(pdu: JsonObject): Json[] {
  return Array.isArray(pdu['auth_events']) ? pdu['auth_events'] : []
}

function citeLess({ random, pdu }: Lab): void {
  pdu['auth_events'] = random.shuffle(citations(pdu)).slice(1)
}

function citeTwice({ random, pdu }: Lab): void {
  const cited = citations(pdu)
  if (cited.length > 0) pdu['auth_events'] = [...cited, random.pick(cited)]
}

function citeMore({ random, pdu, room }: Lab): void {
  pdu['auth_events'] = [...citations(pdu), referTo(pdu, random.pick(room))]
}

function citeForeign({ random, pdu, foreign }: Lab): void {
  const [, ...others] = random.shuffle(citations(pdu))
  pdu['auth_events'] = [...others, referTo(pdu, random.pick(foreign))]
}

/** Puts things into the content that a hash must get right. */
function decorate({ random, version, content }: Lab): void {
  const text = random.pick(['é', '\u2028', '\u007f', '"\\\b\f\n\r\t\u0001', '😀', '\ufb01', '</x>'])
  const values: Json[] = [text, { b: 1, a: [null, true, text] }, -5, 2 ** 53 - 1, 0, [[[]]], {}]
  // Versions before 6 allow other numbers; these are written alike by all.
  if (!version.strictCanonicalJson)
    values.push(
      rawNumber('1.5') as unknown as Json,
      rawNumber('9007199254740993') as unknown as Json,
    )
  const keys = ['\ue000', '😀', 'Z', 'a', 'é', '10', '9', '', '__proto__', text]
  for (let count = random.below(5); count >= 0; count--)
    setKey(content, random.pick(keys), random.pick(values))
}
