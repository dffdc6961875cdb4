import { addSignature } from '#core/signing.ts'
import { contentHash, redactedText } from '#core/event/hash.ts'
import { type JsonObject, setKey, without } from '#core/json.ts'
import { parseJson } from '#core/canonical-json.ts'
import type { Peer, PeerRoom } from '#test/peer.ts'

/** What a server does that keeps to no rule: it hashes and signs whatever it likes. */
export function seal(peer: Peer, room: PeerRoom, pdu: JsonObject): JsonObject {
  const bare = without(pdu, 'hashes', 'signatures')
  const sha256 = contentHash(room.version, bare) ?? 'A'.repeat(43)
  const hashed = { ...bare, hashes: { sha256 }, signatures: {} }
  const text = redactedText(room.version, hashed) ?? ''
  return addSignature(hashed, peer.serverName, peer.key.keyId, peer.key.sign(text))
}

export type Scene = {
  peer: Peer
  room: PeerRoom
  sender: string
  /** Another room that the server knows, and in which the peer is, too. */
  otherRoomId: string
}

/** What may become of a hostile event; `refused` is said in the answer, the others later. */
export type Fate = 'refused' | 'dropped' | 'rejected' | 'redacted' | 'accepted' | 'parked'

export type Hostile = { name: string; fate: Fate; pdu: (scene: Scene) => JsonObject }

const plain = ({ room, sender }: Scene): JsonObject => ({
  ...room.next(sender, 'm.room.message', { msgtype: 'm.text', body: 'hostile' }, aside(room)).pdu,
})

/** On top of the last event, without being the one that the next is built on. */
const aside = (room: PeerRoom) => ({ prevEvents: [room.tip.eventId] })

/** Signed anew after a change. */
const changed =
  (change: (pdu: JsonObject, scene: Scene) => JsonObject) =>
  (scene: Scene): JsonObject =>
    seal(scene.peer, scene.room, change(plain(scene), scene))

const withContent = (text: string) =>
  changed((pdu) => ({ ...pdu, content: parseJson(text) as JsonObject }))

const ids = (count: number) =>
  Array.from({ length: count }, (_, n) => `$${String(n).padEnd(43, 'x')}`)

const nested = (depth: number) => `{"a":${'['.repeat(depth)}${']'.repeat(depth)}}`

/** Every hostile event, with what must become of it in a room of version 11. */
export const hostile: readonly Hostile[] = [
  {
    name: 'a wrong hash',
    fate: 'redacted',
    pdu: (scene) => ({
      ...plain(scene),
      content: { msgtype: 'm.text', body: 'not what was hashed' },
    }),
  },
  {
    name: 'a wrong signature',
    fate: 'dropped',
    pdu: (scene) => {
      const { peer } = scene
      const signature = peer.key.sign('something else')
      return { ...plain(scene), signatures: { [peer.serverName]: { [peer.key.keyId]: signature } } }
    },
  },
  { name: 'no signature', fate: 'dropped', pdu: (scene) => ({ ...plain(scene), signatures: {} }) },
  {
    name: 'signatures that are a list',
    fate: 'refused',
    pdu: (scene) => ({ ...plain(scene), signatures: [] }),
  },
  {
    name: 'the user of another server',
    fate: 'dropped',
    pdu: changed((pdu) => ({ ...pdu, sender: '@alice:home.test' })),
  },
  { name: 'a float', fate: 'refused', pdu: withContent('{"a":1.5}') },
  { name: 'a number beyond all bounds', fate: 'refused', pdu: withContent('{"a":1e999}') },
  { name: 'an integer above 2^53', fate: 'refused', pdu: withContent('{"a":9007199254740993}') },
  { name: '70 KB', fate: 'refused', pdu: withContent(`{"body":"${'x'.repeat(70_000)}"}`) },
  { name: 'nesting 900 deep', fate: 'accepted', pdu: withContent(nested(900)) },
  {
    name: '10,000 auth events',
    fate: 'refused',
    pdu: changed((pdu) => ({ ...pdu, auth_events: ids(10_000) })),
  },
  {
    name: '10,000 prev events',
    fate: 'refused',
    pdu: changed((pdu) => ({ ...pdu, prev_events: ids(10_000) })),
  },
  {
    name: 'auth events that are objects',
    fate: 'refused',
    pdu: changed((pdu) => ({ ...pdu, auth_events: [{}] })),
  },
  {
    name: 'a NUL in the state key',
    fate: 'refused',
    pdu: changed((pdu) => ({ ...pdu, state_key: 'a\0b' })),
  },
  { name: 'a NUL in the type', fate: 'refused', pdu: changed((pdu) => ({ ...pdu, type: 'a\0b' })) },
  {
    name: 'a NUL in the sender',
    fate: 'refused',
    pdu: changed((pdu) => ({ ...pdu, sender: `@a\0b:${'peer.test'}` })),
  },
  {
    name: 'a state key of 70,000 characters',
    fate: 'refused',
    pdu: changed((pdu) => ({ ...pdu, state_key: 'k'.repeat(70_000) })),
  },
  {
    name: 'a type that is a number',
    fate: 'refused',
    pdu: changed((pdu) => ({ ...pdu, type: 7 })),
  },
  {
    name: 'content that is a list',
    fate: 'refused',
    pdu: changed((pdu) => ({ ...pdu, content: [] })),
  },
  { name: 'a depth below zero', fate: 'refused', pdu: changed((pdu) => ({ ...pdu, depth: -1 })) },
  {
    name: 'a depth that is a text',
    fate: 'refused',
    pdu: changed((pdu) => ({ ...pdu, depth: '7' })),
  },
  {
    name: 'a time that is a text',
    fate: 'refused',
    pdu: changed((pdu) => ({ ...pdu, origin_server_ts: '7' })),
  },
  // Allowed by the letter; what matters is that the room goes on after it.
  {
    name: 'the largest depth there is',
    fate: 'accepted',
    pdu: changed((pdu) => ({ ...pdu, depth: Number.MAX_SAFE_INTEGER })),
  },
  { name: 'a depth of 1', fate: 'accepted', pdu: changed((pdu) => ({ ...pdu, depth: 1 })) },
  {
    name: 'a time before 1970',
    fate: 'accepted',
    pdu: changed((pdu) => ({ ...pdu, origin_server_ts: -1 })),
  },
  { name: 'a NUL in the content', fate: 'accepted', pdu: withContent('{"body":"a\\u0000b"}') },
  {
    name: '__proto__ keys in the content',
    fate: 'accepted',
    pdu: withContent('{"__proto__":{"polluted":"yes"},"body":"a","constructor":{"prototype":1}}'),
  },
  {
    name: 'a __proto__ key beside the content',
    fate: 'accepted',
    pdu: changed((pdu) => {
      const copy = { ...pdu }
      setKey(copy, '__proto__', { polluted: 'yes', type: 'm.room.create' })
      return copy
    }),
  },
  { name: 'half a surrogate pair', fate: 'refused', pdu: withContent('{"body":"\\ud800"}') },
  {
    name: 'a room that nobody knows',
    fate: 'refused',
    pdu: changed((pdu) => ({ ...pdu, room_id: '!nowhere:peer.test' })),
  },
  {
    name: 'a room ID that is none',
    fate: 'refused',
    pdu: changed((pdu) => ({ ...pdu, room_id: '!a\0b:peer.test' })),
  },
  // Its prev and auth events are of the room that it comes from: it waits for what never comes.
  {
    name: 'a lie about the room',
    fate: 'parked',
    pdu: changed((pdu, { otherRoomId }) => ({ ...pdu, room_id: otherRoomId })),
  },
  {
    name: 'no auth events',
    fate: 'rejected',
    pdu: changed((pdu) => ({ ...pdu, auth_events: [] })),
  },
  {
    name: 'auth events named twice',
    fate: 'rejected',
    pdu: changed((pdu) => {
      const auth = pdu['auth_events'] as string[]
      return { ...pdu, auth_events: [...auth, ...auth] }
    }),
  },
  {
    name: 'a second create event',
    fate: 'rejected',
    pdu: changed((pdu) => ({ ...pdu, type: 'm.room.create', state_key: '' })),
  },
  {
    name: 'power levels for itself',
    fate: 'rejected',
    pdu: changed((pdu, { sender }) => ({
      ...pdu,
      type: 'm.room.power_levels',
      state_key: '',
      content: { users: { [sender]: 100 } },
    })),
  },
  {
    name: 'a membership that is none',
    fate: 'rejected',
    pdu: changed((pdu, { sender }) => ({
      ...pdu,
      type: 'm.room.member',
      state_key: sender,
      content: { membership: 17 },
    })),
  },
  {
    name: 'the ban of everybody by nobody',
    fate: 'rejected',
    pdu: changed((pdu) => ({
      ...pdu,
      type: 'm.room.member',
      state_key: '@alice:home.test',
      content: { membership: 'ban' },
    })),
  },
]
