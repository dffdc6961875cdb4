import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import {
  MatrixError,
  RemoteError,
  badJson,
  forbidden,
  invalidParam,
  missingParam,
  notFound,
} from '#core/error.ts'
import { domainOf, isServerName, isShortText, isUserId } from '#core/ids.ts'
import type { JsonObject } from '#core/json.ts'
import { Content, open } from '#core/schema.ts'
import { shardOf } from '#core/shard.ts'
import { orMade } from '#engine/appservice/or-made.ts'
import { queryProfile } from '#engine/federation/remote-queries.ts'
import type { Session } from '#engine/user/access-tokens.ts'
import * as profiles from '#store/user/profiles.ts'
import * as users from '#store/user/users.ts'
import type { Context } from '#src/context.ts'

const fieldPath = '/profile/:userId/:keyName'
const params = open({ userId: t.String(), keyName: t.String() })

export const getUserProfile = op({
  id: 'getUserProfile',
  method: 'GET',
  path: '/_matrix/client/v3/profile/:userId',
  also: ['/_matrix/client/r0/profile/:userId'],
  auth: 'none',
  limit: 'lookup',
  params: open({ userId: t.String() }),
  response: Content,
  run: ({ params }, ctx) => profileOf(ctx, params.userId),
})

export const getProfileField = op({
  id: 'getProfileField',
  method: 'GET',
  path: `/_matrix/client/v3${fieldPath}`,
  also: [`/_matrix/client/r0${fieldPath}`],
  auth: 'none',
  limit: 'lookup',
  params,
  response: Content,

  async run({ params: { userId, keyName } }, ctx) {
    requireKey(keyName)
    const profile = await profileOf(ctx, userId, keyName)
    if (!Object.hasOwn(profile, keyName)) throw notFound(`The user has no ${keyName}`)
    return { [keyName]: profile[keyName] }
  },
})

export const setProfileField = op({
  id: 'setProfileField',
  method: 'PUT',
  path: `/_matrix/client/v3${fieldPath}`,
  also: [`/_matrix/client/r0${fieldPath}`],
  auth: 'user',
  admits: ['guest'],
  limit: 'change',
  maxBytes: 128 * 1024,
  params,
  body: Content,

  async run({ who, params: { userId, keyName }, body }, ctx) {
    requireOwn(who, userId, keyName)
    requireKey(keyName)
    if (!Object.hasOwn(body, keyName)) throw missingParam(`'${keyName}' is missing`)
    const value = body[keyName]
    requireValue(keyName, value)
    // An empty name is no name, as clients have always taken it.
    const stored = isTold(keyName) && value === '' ? null : JSON.stringify(value)
    await putField(ctx, userId, keyName, stored)
    return {}
  },
})

export const deleteProfileField = op({
  id: 'deleteProfileField',
  method: 'DELETE',
  path: `/_matrix/client/v3${fieldPath}`,
  auth: 'user',
  admits: ['guest'],
  limit: 'change',
  params,

  async run({ who, params: { userId, keyName } }, ctx) {
    requireOwn(who, userId, keyName)
    requireKey(keyName)
    await putField(ctx, userId, keyName, null)
    return {}
  },
})

/** Fields that member events repeat. */
const isTold = (name: string) => name === 'displayname' || name === 'avatar_url'

async function putField(ctx: Context, userId: string, name: string, value: string | null) {
  await ctx.users.call('putProfileField', userId, name, value)
  if (isTold(name)) ctx.profileNews.changed(userId)
}

function requireOwn(who: Session, userId: string, name: string): void {
  if (userId !== who.userId) throw forbidden('The profile of other users is theirs')
  // Spec: client-server-api/#guest-access
  if (who.guest && name !== 'displayname')
    throw new MatrixError(403, 'M_GUEST_ACCESS_FORBIDDEN', 'Guests may only change their name')
}

/** Spec: client-server-api/#profiles, and appendices/#common-namespaced-identifier-grammar */
function requireKey(name: string): void {
  if (!isShortText(name))
    throw new MatrixError(400, 'M_KEY_TOO_LARGE', 'The name of a field has 255 bytes at most')
  if (!/^(avatar_url|displayname|m\.tz|[a-z][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)+)$/.test(name))
    throw invalidParam(`'${name}' is not the name of a profile field`)
}

function requireValue(name: string, value: unknown): void {
  if (isTold(name) || name === 'm.tz') {
    if (typeof value !== 'string') throw badJson(`'${name}' is a string`)
    // Member events must hold it, with all the rest, in 64 KiB.
    if (Buffer.byteLength(value) > 2048) throw badJson(`'${name}' has 2048 bytes at most`)
  }
  if (name === 'avatar_url' && value !== '' && !/^mxc:\/\/[^/]+\/[^/]+$/.test(value as string))
    throw badJson("'avatar_url' is an mxc:// URI")
}

/** The profile of a user, here or on their server; one field of it at least if that is asked for. */
async function profileOf(ctx: Context, userId: string, field?: string): Promise<JsonObject> {
  const server = domainOf(userId)
  if (!isUserId(userId) || server === undefined || !isServerName(server))
    throw invalidParam(`'${userId}' is not a user ID`)
  const profile =
    server === ctx.serverName
      ? await orMade(
          () => ownProfile(ctx, userId),
          () => ctx.bridges.questions.makesUser(userId),
        )
      : await queryProfile(ctx.federation, server, userId, field).catch(unreachable)
  if (!profile) throw notFound('There is no such user')
  return profile
}

async function ownProfile(ctx: Context, userId: string): Promise<JsonObject | undefined> {
  const account = await users.get(ctx.sql, userId)
  if (!account || account.deactivated) return undefined
  const profile: JsonObject = {}
  for (const { name, value } of await profiles.list(ctx.sql, [userId], [shardOf(userId)]))
    profile[name] = JSON.parse(value) as JsonObject
  return profile
}

/** A server that refuses to say anything is no fault of ours. */
function unreachable(error: unknown): never {
  if (error instanceof RemoteError && error.status === 403)
    throw forbidden(`${error.server} does not tell: ${error.message}`)
  throw error
}
