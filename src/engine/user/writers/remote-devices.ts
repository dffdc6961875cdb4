import { MatrixError } from '#core/error.ts'
import type { Usage } from '#core/keys/cross-signing.ts'
import type { Sql } from '#store/db.ts'
import * as crossSigningKeys from '#store/user/cross-signing-keys.ts'
import * as remoteDevices from '#store/user/remote-devices.ts'
import { type CallsOf, type Results, type UserLanded, type Writers, lastOf } from './writer.ts'

/** One device of another server's user changed. */
export type RemoteDevice = {
  deviceId: string
  streamId: number
  /** The updates before it; one that we do not know means that we missed some. */
  prevIds: number[]
  deleted: boolean
  /** Whether it has keys. */
  keyed: boolean
  /** The update as JSON text. */
  content: string
}

/** A cross-signing key, JSON text. */
export type RemoteKey = { usage: Usage; publicKey: string; json: string }

/** A whole list as its server gave it. */
export type RemoteList = {
  devices: (readonly [deviceId: string, content: string])[]
  keys: RemoteKey[]
  /** The last update that is in it, if the server said so. */
  streamId: number | null
  anchor: remoteDevices.Anchor
  /** The position of the list when it was asked for: what came since then is not in it. */
  askedAt: number
  /** Local users are told that it changed. */
  announce: boolean
}

/** What other servers tell of their users' devices. */
export type RemoteDeviceCalls = {
  /** For a user of another server; idempotent by its stream ID. */
  updateRemoteDevice: (userId: string, update: RemoteDevice) => UserLanded
  updateRemoteKeys: (userId: string, keys: RemoteKey[]) => UserLanded
  /** Keeps a list. 409 if it changed since it was asked for. */
  keepRemoteList: (userId: string, list: RemoteList) => UserLanded
  /** A stale list could not be fetched, and is asked for again at a time. */
  postponeRemoteList: (userId: string, retryAt: number) => UserLanded
  /** A list that nobody tells us about any more. */
  abandonRemoteList: (userId: string) => UserLanded
}

export const remoteDeviceWriters: Writers<RemoteDeviceCalls> = {
  updateRemoteDevice: { write: updateRemoteDevices, many: true },
  updateRemoteKeys: { write: updateRemoteKeys, many: false },
  keepRemoteList: { write: keepRemoteLists, many: false },
  postponeRemoteList: { write: postponeRemoteLists, many: false },
  abandonRemoteList: { write: abandonRemoteLists, many: false },
}

type Place = { shard: number; userId: string }
const userIdsOf = (places: readonly Place[]) => places.map(({ userId }) => userId)
const shardsOf = (places: readonly Place[]) => places.map(({ shard }) => shard)

type State = Pick<remoteDevices.KnownList, 'stream_id' | 'stale' | 'cached'>
type Change = Place & { deviceId: string; deleted: boolean; content: string }

/**
 * Takes in updates of device lists. Of a list that is not kept, only that its keys changed is noted. A list
 * that is kept and gets an update that does not follow the last one is stale until it is fetched.
 *
 * Spec: server-server-api/#device-management
 */
async function updateRemoteDevices(
  sql: Sql,
  calls: CallsOf<RemoteDeviceCalls['updateRemoteDevice']>,
): Promise<void> {
  const stored = await remoteDevices.lists(sql, userIdsOf(calls), shardsOf(calls))
  const states = new Map<string, State>(stored.map((row) => [row.user_id, row]))
  const lists = new Map<string, remoteDevices.DeviceList>()
  const changes: Change[] = []
  for (const { shard, userId, position, args } of calls) {
    const [{ streamId, prevIds, deviceId, deleted, keyed, content }] = args
    const state = states.get(userId) ?? { stream_id: null, stale: false, cached: false }
    // The same again changes nothing, and gets no new position.
    if (streamId === state.stream_id) continue
    // A device without keys never had any: it is nothing to clients, who only ask for keys. Whoever
    // comes to a room is introduced by their server, and need not be news twice.
    if (!state.cached && !keyed && !deleted) continue
    const follows = state.stream_id !== null && prevIds.includes(state.stream_id)
    const stale = state.cached && (state.stale || !follows)
    if (state.cached && !stale) changes.push({ shard, userId, deviceId, deleted, content })
    states.set(userId, { stream_id: streamId, stale, cached: state.cached })
    lists.set(userId, { shard, userId, position, streamId, stale })
  }
  const last = lastOf(changes, (change) => [change.userId, change.deviceId])
  const [gone, there] = [last.filter((each) => each.deleted), last.filter((each) => !each.deleted)]
  await Promise.all([
    ...(lists.size > 0 ? [remoteDevices.putLists(sql, [...lists.values()])] : []),
    ...(gone.length > 0 ? [remoteDevices.remove(sql, gone)] : []),
    ...(there.length > 0 ? [remoteDevices.put(sql, there)] : []),
  ])
}

/**
 * Takes in cross-signing keys. If the master key is another one, what we know of the other keys and
 * signatures is out of date.
 */
async function updateRemoteKeys(
  sql: Sql,
  calls: CallsOf<RemoteDeviceCalls['updateRemoteKeys']>,
): Promise<void> {
  const [lists, stored] = await Promise.all([
    remoteDevices.lists(sql, userIdsOf(calls), shardsOf(calls)),
    crossSigningKeys.list(sql, userIdsOf(calls), shardsOf(calls)),
  ])
  const states = new Map<string, State>(lists.map((row) => [row.user_id, row]))
  const known = new Map(stored.map((row) => [`${row.user_id} ${row.usage}`, row]))
  const changed: remoteDevices.DeviceList[] = []
  const rows: crossSigningKeys.KeyRow[] = []
  for (const { shard, userId, position, args } of calls) {
    const [keys] = args
    const state = states.get(userId) ?? { stream_id: null, stale: false, cached: false }
    const fresh = keys.filter(({ usage, json }) => known.get(`${userId} ${usage}`)?.json !== json)
    if (state.cached && fresh.length === 0) continue
    const isReset = fresh.some(({ usage, publicKey }) => {
      const before = known.get(`${userId} ${usage}`)?.public_key
      return usage === 'master' && before !== undefined && before !== publicKey
    })
    const stale = state.cached && (state.stale || isReset)
    changed.push({ shard, userId, position, streamId: state.stream_id, stale })
    if (state.cached) rows.push(...fresh.map((key) => ({ shard, userId, ...key })))
  }
  await Promise.all([
    ...(changed.length > 0 ? [remoteDevices.putLists(sql, changed)] : []),
    ...(rows.length > 0 ? [crossSigningKeys.put(sql, rows)] : []),
  ])
}

async function keepRemoteLists(
  sql: Sql,
  calls: CallsOf<RemoteDeviceCalls['keepRemoteList']>,
): Promise<Results<RemoteDeviceCalls['keepRemoteList']>> {
  const stored = await remoteDevices.lists(sql, userIdsOf(calls), shardsOf(calls))
  const positions = new Map(stored.map((row) => [row.user_id, row.position]))
  const faults: Results<RemoteDeviceCalls['keepRemoteList']> = new Map()
  const good = calls.filter(({ userId, args: [{ askedAt }] }, index) => {
    if ((positions.get(userId) ?? 0) === askedAt) return true
    faults.set(index, new MatrixError(409, 'M_UNKNOWN', `The devices of ${userId} have changed`))
    return false
  })
  if (good.length === 0) return faults
  const devices = good.flatMap(({ shard, userId, args: [list] }) =>
    list.devices.map(([deviceId, content]) => ({ shard, userId, deviceId, content })),
  )
  const keys = good.flatMap(({ shard, userId, args: [list] }) =>
    list.keys.map((key) => ({ shard, userId, ...key })),
  )
  const [userIds, shards] = [userIdsOf(good), shardsOf(good)]
  await Promise.all([
    remoteDevices.removeAll(sql, userIds, shards),
    crossSigningKeys.remove(sql, userIds, shards),
    ...(devices.length > 0 ? [remoteDevices.put(sql, devices)] : []),
    ...(keys.length > 0 ? [crossSigningKeys.put(sql, keys)] : []),
    remoteDevices.keepLists(
      sql,
      good.map(({ shard, userId, position, args: [{ streamId, anchor, announce }] }) => ({
        shard,
        userId,
        streamId,
        anchor,
        position: announce ? position : null,
      })),
    ),
  ])
  return faults
}

async function postponeRemoteLists(
  sql: Sql,
  calls: CallsOf<RemoteDeviceCalls['postponeRemoteList']>,
): Promise<void> {
  await remoteDevices.postpone(
    sql,
    calls.map(({ shard, userId, args: [retryAt] }) => ({ shard, userId, retryAt })),
  )
}

async function abandonRemoteLists(
  sql: Sql,
  calls: CallsOf<RemoteDeviceCalls['abandonRemoteList']>,
): Promise<void> {
  await Promise.all([
    remoteDevices.abandon(sql, calls),
    remoteDevices.removeAll(sql, userIdsOf(calls), shardsOf(calls)),
    crossSigningKeys.remove(sql, userIdsOf(calls), shardsOf(calls)),
  ])
}
