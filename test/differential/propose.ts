import type { StateLookup } from '#core/event/auth-events.ts'
import { signJson, SigningKey } from '#core/signing.ts'
import { isObject, rawNumber, type Json, type JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { member, state, type Proposal } from './proposal.ts'
import type { Random } from './random.ts'

export type View = Readonly<{
  random: Random
  version: RoomVersion
  users: readonly string[]
  state: StateLookup
}>

const identityServer = new SigningKey('0', new Uint8Array(32).fill(7))

/** Thinks of something that could happen next; whether it may is for the rules to say. */
export function propose(view: View): Proposal {
  const { random } = view
  const roll = random.below(100)
  if (roll < 14) return proposeJoin(view)
  if (roll < 40) return proposeMembership(view)
  if (roll < 56) return proposePowerLevels(view)
  if (roll < 64) return proposeJoinRules(view)
  if (roll < 70) return proposeThirdParty(view)
  if (roll < 76) return proposeOther(view)
  return proposeState(view)
}

/** Somebody, and often somebody who may. */
function someone({ random, users, state }: View): string {
  if (random.chance(0.6)) {
    const joined = users.filter(
      (user) => state('m.room.member', user)?.content['membership'] === 'join',
    )
    if (joined.length > 0) return random.chance(0.4) ? joined[0]! : random.pick(joined)
  }
  return random.pick(users)
}

function proposeJoin(view: View): Proposal {
  const { random, users } = view
  const user = random.pick(users)
  const more: JsonObject = random.chance(0.3) ? { displayname: `n${random.below(9)}` } : {}
  if (random.chance(0.4)) more['join_authorised_via_users_server'] = someone(view)
  const join = member(random.chance(0.95) ? user : someone(view), user, 'join', more)
  return random.chance(0.1) ? { ...join, cosigners: [] } : join
}

function proposeMembership(view: View): Proposal {
  const { random, users } = view
  const membership = random.pick(['leave', 'leave', 'leave', 'ban', 'ban', 'invite', 'knock'])
  const target = random.pick(users)
  const own = membership === 'knock' ? 0.9 : membership === 'leave' ? 0.3 : 0.05
  const sender = random.chance(own) ? target : someone(view)
  const more: JsonObject = random.chance(0.2) ? { reason: `r${random.below(99)}` } : {}
  return member(sender, target, membership, more)
}

const levels = [-10, 0, 0, 1, 25, 49, 50, 50, 51, 75, 99, 100, 100, 101]

/** A level, in one of the ways in which its room version lets it be written. */
export function someLevel({ random, version }: Pick<View, 'random' | 'version'>): Json {
  const level = random.pick(levels)
  if (version.integerPowerLevels || random.chance(0.8)) return level
  if (!version.strictCanonicalJson && random.chance(0.3))
    return rawNumber(`${level}.5`) as unknown as Json
  return random.pick([`${level}`, ` ${level}`, level < 0 ? `${level}` : `+0${level} `])
}

function proposePowerLevels(view: View): Proposal {
  const { random, users } = view
  const content = structuredCopy(view.state('m.room.power_levels', '')?.content ?? {})
  for (let change = 0; change <= random.below(3); change++) {
    const part = random.pick(['users', 'users', 'users', 'events', 'notifications', 'named'])
    if (part === 'named') {
      const name = random.pick(['ban', 'kick', 'invite', 'redact', 'state_default'])
      content[random.chance(0.7) ? name : `${name.slice(0, 5)}s_default`] = someLevel(view)
      continue
    }
    const map = isObject(content[part]) ? content[part] : {}
    const key = {
      users: random.pick(users),
      events: random.pick(['m.room.topic', 'm.room.power_levels', 'm.room.join_rules', 'x.custom']),
      notifications: random.pick(['room', 'x.other']),
    }[part]!
    if (random.chance(0.2)) delete map[key]
    else map[key] = someLevel(view)
    content[part] = map
  }
  const stateKey = random.chance(0.02) ? 'other' : ''
  return state(someone(view), 'm.room.power_levels', stateKey, content)
}

function structuredCopy(content: JsonObject): JsonObject {
  const copy: JsonObject = { ...content }
  for (const [key, value] of Object.entries(copy)) if (isObject(value)) copy[key] = { ...value }
  return copy
}

function proposeJoinRules(view: View): Proposal {
  const { random } = view
  const rules = ['public', 'public', 'invite', 'knock', 'restricted', 'knock_restricted', 'private']
  const content: JsonObject = { join_rule: random.pick(rules) }
  if (random.chance(0.3)) content['allow'] = []
  return state(someone(view), 'm.room.join_rules', '', content)
}

function proposeThirdParty(view: View): Proposal {
  const { random, users } = view
  const token = `token${random.below(2)}`
  const sender = someone(view)
  const key = identityServer.publicKey
  if (random.chance(0.5)) {
    const keys: JsonObject = random.chance(0.5)
      ? { public_key: key }
      : { public_keys: [{ public_key: new SigningKey('1', new Uint8Array(32)).publicKey }] }
    if (random.chance(0.3)) keys['public_keys'] = [{ public_key: key }]
    return state(sender, 'm.room.third_party_invite', token, { display_name: 'x', ...keys })
  }
  const target = random.pick(users)
  const mxid = random.chance(0.9) ? target : random.pick(users)
  const signed = signJson({ mxid, token }, 'id.example', identityServer)
  return member(sender, target, 'invite', {
    third_party_invite: {
      display_name: 'x',
      signed: random.chance(0.9) ? signed : { mxid, token },
    },
  })
}

function proposeOther(view: View): Proposal {
  const { random, version } = view
  const sender = someone(view)
  if (random.chance(0.4)) {
    const key = random.pick(['a.example', 'b.example', 'c.example', ''])
    return state(sender, 'm.room.aliases', key, { aliases: [`#${random.below(9)}:${key}`] })
  }
  if (random.chance(0.5)) {
    const target = version.eventFormat === 'named' ? `$x:${random.pick(['a', 'b'])}.example` : '$x'
    return {
      type: 'm.room.redaction',
      sender,
      content: version.redactsAtTopLevel ? {} : { redacts: target },
      redacts: target,
    }
  }
  return { type: 'm.room.message', sender, content: { body: `m${random.below(1e6)}` } }
}

function proposeState(view: View): Proposal {
  const { random, users } = view
  const sender = someone(view)
  const type = random.pick([
    'm.room.topic',
    'm.room.topic',
    'm.room.name',
    'x.custom',
    'm.room.server_acl',
    'm.room.tombstone',
  ])
  const keys = ['', '', 'key', sender, random.pick(users)]
  const stateKey = type === 'x.custom' ? random.pick(keys) : ''
  return state(sender, type, stateKey, { value: random.below(1e6) })
}
