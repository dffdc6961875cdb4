import type { FederationThread } from '#engine/federation/thread.ts'
import { PushFollower } from '#engine/push/follower.ts'
import { Letters } from '#engine/push/letters.ts'
import { type AskGateway, PushSender } from '#engine/push/sender.ts'
import { ignoredBy } from '#engine/read/ignored.ts'
import type { Positions } from '#engine/read/positions.ts'
import type { UnreadCounts } from '#engine/sync/unread.ts'
import type { Mail } from '#engine/user/mail.ts'
import type { Users } from '#engine/user/protocol.ts'
import type { Config } from '#src/config.ts'
import type { Log } from '#src/log.ts'
import type { Pool } from '#store/db.ts'

export type PushParts = {
  config: Pick<Config, 'server_name' | 'public_base_url' | 'push'>
  sql: Pool
  log: Pick<Log, 'warn' | 'debug'>
  clock: () => number
  positions: Positions
  unread: UnreadCounts
  users: Users
  ask: AskGateway
  mail: Pick<Mail, 'send'> | undefined
  /** What is started is put here, to be stopped in reverse. */
  started: AsyncDisposableStack
}

/** How long a gateway may take, and how much it may say. */
const deadlineMs = 15_000
const maxBytes = 256 * 1024

/** Asks gateways by the thread that makes requests to the outside. */
export const askGateways =
  (federation: Pick<FederationThread, 'askGateway'>): AskGateway =>
  (url, body) =>
    federation.askGateway({ url, body, deadlineMs, maxBytes })

/** What finds out what is to be pushed, and what pushes it. */
export async function startPush(parts: PushParts): Promise<PushSender> {
  const { config, sql, log, clock, positions, users, ask, mail, started } = parts
  const sender = new PushSender({
    sql,
    log,
    clock,
    ask,
    unreadOf: (userId) => unreadOf(parts, userId),
    remove: (userId, key) => users.call('removePusher', userId, key),
  })
  await sender.start()
  started.defer(() => sender.stop())
  if (mail) {
    const { public_base_url: base } = config
    const letters = new Letters({
      sql,
      log,
      clock,
      serverName: config.server_name,
      delayMs: config.push.email_delay_seconds * 1000,
      send: (letter) => mail.send(letter),
      ...(base !== undefined && { stopUrl: `${base.replace(/\/+$/, '')}/_laneway/client/letters` }),
    })
    letters.start()
    started.defer(() => letters.stop())
  }
  const follower = new PushFollower({
    sql,
    log,
    clock,
    roomsAt: (shard) => positions.roomsAt(shard),
    usersAt: (shard) => positions.usersAt(shard),
    onQueued: (queued) => sender.wake(queued),
  })
  await follower.start()
  positions.watchNews(() => follower.tell())
  started.defer(() => follower.stop())
  return sender
}

/** What a user has not read, in all rooms that they are in: by what is counted for /sync. */
export async function unreadOf(
  { sql, positions, unread }: Pick<PushParts, 'sql' | 'positions' | 'unread'>,
  userId: string,
): Promise<number> {
  const [{ vector, places }, ignored] = await Promise.all([
    positions.view(userId),
    ignoredBy(sql, userId),
  ])
  const joined = places.filter(({ membership }) => membership === 'join')
  const rooms = await unread.read({ sql, positions, userId, ignored }, joined, vector)
  let count = 0
  for (const { main, threads } of rooms.values()) {
    count += main.notify
    for (const { notify } of threads.values()) count += notify
  }
  return count
}
