import type { FallbackTypes, KeyCounts } from '#core/appservice-transaction.ts'
import { setKey } from '#core/json.ts'
import { SHARDS, shardOf } from '#core/shard.ts'
import type { Follows } from '#engine/appservice/follows.ts'
import * as stored from '#store/appservice/supplies.ts'
import type { Sql } from '#store/db.ts'

type Told = { device: stored.Device; text: string; counts: Counts; unused: string[] }
type Counts = { [algorithm: string]: number }

/** Devices of one application service whose keys are counted; further ones are not. */
const maxDevices = 5_000
/** Devices of one transaction. */
const maxTaken = 200
const page = 5_000

/**
 * What the devices of application services' users have left to give: looked up where something changed in
 * their shards, and told when it is another number than before. After a start all of it is told.
 *
 * MSC3202
 */
export class Supplies {
  readonly #sql: Sql
  readonly #follows: Follows
  readonly #encrypting: readonly number[]
  /** Of each application service, by shard and name. */
  readonly #devices = new Map<number, Map<number, Map<string, stored.Device>>>()
  readonly #told = new Map<number, Map<string, string>>()
  readonly #news = new Map<number, Map<string, Told>>()

  constructor(sql: Sql, follows: Follows) {
    this.#sql = sql
    this.#follows = follows
    this.#encrypting = follows.where(({ pushEncryption }) => pushEncryption)
    for (const place of this.#encrypting) {
      this.#devices.set(place, new Map())
      this.#told.set(place, new Map())
      this.#news.set(place, new Map())
    }
  }

  /** Finds out which devices there are. */
  async start(): Promise<void> {
    if (this.#encrypting.length === 0) return
    for (let shard = 0; shard < SHARDS; shard++) {
      let after = { user_id: '', device_id: '' }
      for (;;) {
        const rows = await stored.devicesIn(this.#sql, shard, after, page)
        for (const row of rows) this.#add(row)
        after = rows.at(-1) ?? after
        if (rows.length < page) break
      }
    }
  }

  /** The lists of devices of some users changed. */
  async changed(userIds: readonly string[]): Promise<void> {
    const own = userIds.filter((id) => this.#placesOf(id).length > 0)
    if (own.length === 0) return
    const rows = await stored.devicesOf(
      this.#sql,
      own.map((id) => shardOf(id)),
      own,
    )
    for (const userId of own)
      for (const place of this.#placesOf(userId)) {
        const devices = this.#devices.get(place)!.get(shardOf(userId))
        for (const [name, device] of devices ?? [])
          if (device.user_id === userId) this.#remove(place, shardOf(userId), name)
      }
    for (const row of rows) this.#add(row)
  }

  /** Something changed in some shards; answers for whom there is something to tell. */
  async look(shards: readonly number[]): Promise<number[]> {
    const news: number[] = []
    for (const place of this.#encrypting) {
      const devices = shards.flatMap((shard) => [
        ...(this.#devices.get(place)!.get(shard)?.values() ?? []),
      ])
      if (devices.length > 0 && (await this.#compare(place, devices))) news.push(place)
    }
    return news
  }

  /** Something to tell one application service, and what says that it was told. */
  take(place: number) {
    const news = [...(this.#news.get(place) ?? [])].slice(0, maxTaken)
    const oneTimeKeys: KeyCounts = {}
    const unusedFallbacks: FallbackTypes = {}
    for (const [, { device, counts, unused }] of news) {
      const { user_id: userId, device_id: deviceId } = device
      setKey((oneTimeKeys[userId] ??= {}), deviceId, counts)
      setKey((unusedFallbacks[userId] ??= {}) as never, deviceId, unused)
    }
    return {
      size: news.length,
      oneTimeKeys,
      unusedFallbacks,
      done: () => {
        for (const [name, told] of news) {
          if (this.#news.get(place)!.get(name) === told) this.#news.get(place)!.delete(name)
          this.#told.get(place)!.set(name, told.text)
        }
      },
    }
  }

  async #compare(place: number, devices: readonly stored.Device[]): Promise<boolean> {
    const found = new Map<string, Told>(
      devices.map((device) => [
        nameOf(device),
        // Some bridges take a count that is missing for one that has not changed.
        { device, text: '', counts: { signed_curve25519: 0 }, unused: [] },
      ]),
    )
    for (const row of await stored.supplies(this.#sql, devices)) {
      const { counts, unused } = found.get(nameOf(row))!
      if (row.count === null) unused.push(row.algorithm)
      else counts[row.algorithm] = row.count
    }
    const told = this.#told.get(place)!
    const news = this.#news.get(place)!
    let isNew = false
    for (const [name, each] of found) {
      each.text = JSON.stringify([each.counts, each.unused])
      if (told.get(name) === each.text) news.delete(name)
      else {
        news.set(name, each)
        isNew = true
      }
    }
    return isNew
  }

  #placesOf(userId: string): number[] {
    return this.#follows.ofUser(userId).filter((place) => this.#encrypting.includes(place))
  }

  #add(device: stored.Device): void {
    for (const place of this.#placesOf(device.user_id)) {
      const shards = this.#devices.get(place)!
      const devices = shards.get(device.shard) ?? new Map<string, stored.Device>()
      if (devices.size >= maxDevices / SHARDS) continue
      shards.set(device.shard, devices.set(nameOf(device), device))
    }
  }

  #remove(place: number, shard: number, name: string): void {
    this.#devices.get(place)!.get(shard)!.delete(name)
    this.#told.get(place)!.delete(name)
    this.#news.get(place)!.delete(name)
  }
}

const nameOf = ({
  user_id: userId,
  device_id: deviceId,
}: Pick<stored.Device, 'user_id' | 'device_id'>) => `${userId} ${deviceId}`
