import type { Json } from '#core/json.ts'
import { type Received, receivePdu, type ReceiveOptions } from '#core/event/receive.ts'
import type { RoomVersion } from '#core/room-version.ts'
import type { ServerKey } from '#core/server-keys.ts'
import { serverKeyOf } from '#engine/federation/keyring.ts'
import type { Federation } from '#engine/worker/protocol.ts'

type Judged = Exclude<Received, { outcome: 'missing' }>

/** Judges events of one room version from the network, with the keys that can be had in time. */
export async function receiveWithKeys(
  federation: Federation,
  clock: () => number,
  version: RoomVersion,
  pdus: readonly Json[],
  options: Pick<ReceiveOptions, 'roomId' | 'anyListLength'>,
  deadlineMs: number,
): Promise<Judged[]> {
  const known = new Map<string, ServerKey>()
  const keys = (server: string, keyId: string) => known.get(`${server} ${keyId}`)
  const judge = (pdu: Json, lastTry: boolean) =>
    receivePdu(version, pdu, { ...options, keys, now: clock(), lastTry })

  const first = pdus.map((pdu) => judge(pdu, false))
  const wanted = new Map<string, { keyIds: Set<string>; minimumValidUntilTs: number }>()
  for (const each of first) {
    if (each.outcome !== 'missing') continue
    for (const { server, keyIds, minimumValidUntilTs } of each.keys) {
      const entry = wanted.get(server) ?? { keyIds: new Set(), minimumValidUntilTs: 0 }
      for (const keyId of keyIds) entry.keyIds.add(keyId)
      entry.minimumValidUntilTs = Math.max(entry.minimumValidUntilTs, minimumValidUntilTs)
      wanted.set(server, entry)
    }
  }
  if (wanted.size > 0) {
    const list = Array.from(wanted, ([server, { keyIds, minimumValidUntilTs }]) => ({
      server,
      keyIds: [...keyIds],
      minimumValidUntilTs,
    }))
    for (const key of await federation.call('keys', list, deadlineMs))
      known.set(`${key.server} ${key.keyId}`, serverKeyOf(key))
  }
  return first.map((each, index) =>
    each.outcome === 'missing' ? (judge(pdus[index]!, true) as Judged) : each,
  )
}
