import { type Static, Type as t } from '@sinclair/typebox'
import { localUser } from '#api/client-server/admin/local-user.ts'
import { writeUser } from '#api/admin/users/write.ts'
import { op } from '#api/http/op.ts'
import { json } from '#api/http/reply.ts'
import { forbidden, invalidParam, notFound } from '#core/error.ts'
import { domainOf, isUserId } from '#core/ids.ts'
import { UserId, open } from '#core/schema.ts'
import { emailAddress } from '#engine/user/identifier.ts'
import * as listUsers from '#store/user/list-users.ts'
import * as threepids from '#store/user/threepids.ts'
import * as users from '#store/user/users.ts'
import type { Context } from '#src/context.ts'

// Accounts as administrators list, make and change them, in the form that known tools speak.

const path = '/_synapse/admin/v2/users'
const params = open({ userId: t.String() })

const ListQuery = open({
  user_id: t.Optional(t.String()),
  name: t.Optional(t.String()),
  guests: t.Optional(t.Boolean()),
  admins: t.Optional(t.Boolean()),
  deactivated: t.Optional(t.Boolean()),
  locked: t.Optional(t.Boolean()),
  from: t.Optional(t.Integer({ minimum: 0, maximum: 2 ** 31 })),
  limit: t.Optional(t.Integer({ minimum: 1, maximum: 10_000 })),
  order_by: t.Optional(t.String()),
  dir: t.Optional(t.Union([t.Literal('f'), t.Literal('b')])),
})
type ListQuery = Static<typeof ListQuery>

async function list({ sql }: Context, query: ListQuery, deactivated: boolean | undefined) {
  const { from = 0, limit = 100, order_by: order = 'name' } = query
  if (!listUsers.userOrders.includes(order as listUsers.UserOrder))
    throw invalidParam(`'order_by' is one of ${listUsers.userOrders.join(', ')}`)
  for (const text of [query.user_id, query.name])
    if (text?.includes('\0')) throw invalidParam('No text may hold a NUL')
  const filter: listUsers.UserFilter = {
    // A name goes over an ID.
    userId: query.name === undefined ? query.user_id : undefined,
    name: query.name,
    admins: query.admins,
    guests: query.guests === false ? false : undefined,
    deactivated,
    locked: query.locked === true ? undefined : false,
  }
  const [total, rows] = await Promise.all([
    listUsers.count(sql, filter),
    listUsers.page(sql, filter, {
      from,
      limit,
      order: order as listUsers.UserOrder,
      backwards: query.dir === 'b',
    }),
  ])
  const next = from + rows.length
  return { users: rows.map(writeUser), total, ...(next < total && { next_token: String(next) }) }
}

export const listUsersV2 = op({
  id: 'listUsersV2',
  method: 'GET',
  path,
  auth: 'admin',
  query: ListQuery,
  response: open({ users: t.Array(open({ name: UserId })), total: t.Integer() }),
  run: ({ query }, ctx) => list(ctx, query, query.deactivated === true ? undefined : false),
})

export const listUsersV3 = op({
  id: 'listUsersV3',
  method: 'GET',
  path: '/_synapse/admin/v3/users',
  auth: 'admin',
  query: ListQuery,
  response: open({ users: t.Array(open({ name: UserId })), total: t.Integer() }),
  run: ({ query }, ctx) => list(ctx, query, query.deactivated),
})

async function show(ctx: Context, userId: string) {
  const [row, addresses] = await Promise.all([
    listUsers.one(ctx.sql, userId),
    threepids.list(ctx.sql, userId),
  ])
  if (!row) throw notFound('There is no such user')
  return {
    ...writeUser(row),
    threepids: [...addresses],
    external_ids: [],
    appservice_id: null,
    consent_server_notice_sent: null,
    consent_version: null,
    consent_ts: null,
  }
}

export const getUser = op({
  id: 'getUser',
  method: 'GET',
  path: `${path}/:userId`,
  auth: 'admin',
  params,
  response: open({ name: UserId }),

  async run({ params: { userId } }, ctx) {
    await localUser(ctx, userId)
    return show(ctx, userId)
  },
})

const Text = t.Optional(t.Union([t.String(), t.Null()]))
const Change = open({
  password: Text,
  logout_devices: t.Optional(t.Boolean()),
  displayname: Text,
  avatar_url: Text,
  threepids: t.Optional(t.Array(open({ medium: t.String(), address: t.String() }))),
  admin: t.Optional(t.Boolean()),
  deactivated: t.Optional(t.Boolean()),
  locked: t.Optional(t.Boolean()),
  user_type: t.Optional(t.Null()),
})
type Change = Static<typeof Change>

export const putUser = op({
  id: 'putUser',
  method: 'PUT',
  path: `${path}/:userId`,
  auth: 'admin',
  maxBytes: 128 * 1024,
  params,
  body: Change,
  response: open({ name: UserId }),

  async run({ who, params: { userId }, body }, ctx) {
    if (!isUserId(userId) || domainOf(userId) !== ctx.serverName)
      throw invalidParam('The user is not one of this server')
    // What is wrong is said before anything is changed.
    const wanted = await addressesIn(ctx, userId, body)
    const isSelf = who.userId === userId
    if (isSelf && (body.admin === false || body.deactivated || body.locked))
      throw forbidden('Nobody can take their own account away')
    const before = await users.get(ctx.sql, userId)
    if (before) await change(ctx, userId, body, before)
    else await make(ctx, userId, body)
    await writeProfile(ctx, userId, body)
    if (wanted) await replaceAddresses(ctx, userId, wanted)
    const shown = await show(ctx, userId)
    return before ? shown : json(201, shown)
  },
})

async function make(ctx: Context, userId: string, body: Change): Promise<void> {
  const { password, admin = false } = body
  if (typeof password === 'string') {
    await ctx.accounts.register({ name: userId, password, admin })
    return
  }
  // Without a password nobody can log in, until one is set.
  await ctx.accounts.requireFree(userId)
  await ctx.users.call('createUser', userId, { admin, createdAt: ctx.clock() })
}

async function change(
  ctx: Context,
  userId: string,
  body: Change,
  before: users.Account,
): Promise<void> {
  const { password, admin, locked, deactivated } = body
  if (deactivated === true && !before.deactivated) {
    await ctx.accounts.deactivate(userId, false)
    ctx.departures.wake()
    ctx.presence?.forget(userId)
    return
  }
  if (deactivated === false && before.deactivated)
    await ctx.accounts.change(userId, { deactivated: false, erased: false })
  if (admin !== undefined || locked !== undefined)
    await ctx.accounts.change(userId, {
      ...(admin !== undefined && { admin }),
      ...(locked !== undefined && { locked }),
    })
  if (typeof password === 'string')
    await ctx.accounts.setPassword(userId, password, { logOut: body.logout_devices ?? true })
}

async function writeProfile(ctx: Context, userId: string, body: Change): Promise<void> {
  for (const name of ['displayname', 'avatar_url'] as const) {
    const value = body[name]
    if (value === undefined) continue
    const stored = value === null || value === '' ? null : JSON.stringify(value)
    await ctx.users.call('putProfileField', userId, name, stored)
    ctx.profileNews.changed(userId)
  }
}

type Address = { medium: string; address: string }

/** The addresses that a change asks for, if they can be had. */
async function addressesIn(
  ctx: Context,
  userId: string,
  body: Change,
): Promise<Address[] | undefined> {
  for (const name of ['displayname', 'avatar_url'] as const)
    if (Buffer.byteLength(body[name] ?? '') > 2048) throw invalidParam(`'${name}' is too long`)
  if (body.avatar_url && !/^mxc:\/\/[^/]+\/[^/]+$/.test(body.avatar_url))
    throw invalidParam("'avatar_url' is an mxc:// URI")
  if (!body.threepids) return undefined
  const wanted = body.threepids.map(({ medium, address: text }) => {
    const address =
      medium === 'email' ? emailAddress(text) : /^\d{5,20}$/.test(text) ? text : undefined
    if (address === undefined || (medium !== 'email' && medium !== 'msisdn'))
      throw invalidParam(`'${text}' is no address of kind '${medium}'`)
    return { medium, address }
  })
  for (const { medium, address } of wanted) {
    const owner = await threepids.owner(ctx.sql, medium, address)
    if (owner !== undefined && owner !== userId) throw invalidParam(`${address} is in use`)
  }
  return wanted
}

async function replaceAddresses(ctx: Context, userId: string, wanted: Address[]): Promise<void> {
  const keyOf = ({ medium, address }: Address) => `${medium} ${address}`
  const before = await threepids.list(ctx.sql, userId)
  const keep = new Set(wanted.map(keyOf))
  const had = new Set(before.map(keyOf))
  for (const each of before)
    if (!keep.has(keyOf(each)))
      await ctx.users.call('removeThreepid', userId, each.medium, each.address)
  const now = ctx.clock()
  for (const each of wanted)
    if (!had.has(keyOf(each)))
      await ctx.users.call('addThreepid', userId, { ...each, validatedAt: now, addedAt: now })
}
