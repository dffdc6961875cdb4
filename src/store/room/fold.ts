import { byteaText } from './event-id.ts'
import type { MemberChange, RoomPart, StateChange } from './batch.ts'

/**
 * A batch may hold many events of a room, and a row may be written once in a statement: here lists of
 * changes become the rows that are left at the end.
 */

const joins = (membership: string | null) => (membership === 'join' ? 1 : 0)
const invites = (membership: string | null) => (membership === 'invite' ? 1 : 0)

/** Every line of the delta log. */
export const deltaRows = (parts: readonly RoomPart[]) =>
  parts.flatMap((part) => [
    ...part.state.map((change) => ({
      shard: part.shard,
      room_nid: part.roomNid,
      position: change.position,
      type_nid: change.typeNid,
      state_key_nid: change.stateKeyNid,
      old_event_nid: change.oldEventNid,
      new_event_nid: change.newEventNid,
      old_membership: change.member?.old ?? null,
      new_membership: change.member?.new ?? null,
    })),
    ...(part.flip
      ? [
          {
            shard: part.shard,
            room_nid: part.roomNid,
            position: part.flip.position,
            type_nid: 0,
            state_key_nid: 0,
            old_event_nid: part.flip.from,
            new_event_nid: part.flip.to,
            old_membership: null,
            new_membership: null,
          },
        ]
      : []),
  ])

/** The last change of every key. */
export function stateRows(parts: readonly RoomPart[]) {
  return parts.flatMap((part) => {
    const last = new Map<number, StateChange>()
    for (const change of part.state) last.set(change.stateKeyNid, change)
    return Array.from(last.values(), (change) => ({
      shard: part.shard,
      room_nid: part.roomNid,
      type_nid: change.typeNid,
      state_key_nid: change.stateKeyNid,
      event_nid: change.newEventNid,
    }))
  })
}

/** The last membership of every user whose member event changed. */
export function memberRows(parts: readonly RoomPart[]) {
  return parts.flatMap((part) => {
    const last = new Map<number, { change: StateChange; member: MemberChange }>()
    for (const change of part.state)
      if (change.member) last.set(change.member.userNid, { change, member: change.member })
    return Array.from(last.values(), ({ change, member }) => ({
      shard: part.shard,
      room_nid: part.roomNid,
      user_nid: member.userNid,
      membership: member.new ?? 'none',
      event_nid: change.newEventNid,
      sender_nid: member.senderNid,
      position: change.position,
    }))
  })
}

/** By how much the joined members of each server change. */
export function serverRows(parts: readonly RoomPart[]) {
  return parts.flatMap((part) => {
    const sums = new Map<number, number>()
    for (const { member } of part.state)
      if (member)
        sums.set(
          member.serverNid,
          (sums.get(member.serverNid) ?? 0) + joins(member.new) - joins(member.old),
        )
    return Array.from(sums, ([server_nid, joined]) => ({
      shard: part.shard,
      room_nid: part.roomNid,
      server_nid,
      joined,
    })).filter(({ joined }) => joined !== 0)
  })
}

/** What changes in rows of `rooms`: facts by value, members by difference. */
export function roomRows(parts: readonly RoomPart[]) {
  return parts
    .map((part) => {
      let joined = 0
      let invited = 0
      for (const { member } of part.state) {
        if (!member) continue
        joined += joins(member.new) - joins(member.old)
        invited += invites(member.new) - invites(member.old)
      }
      return {
        shard: part.shard,
        room_nid: part.roomNid,
        kind: part.room?.kind ?? null,
        partial: part.room?.partial ?? null,
        version: part.room?.version ?? null,
        join_set: part.room?.joinSet ?? null,
        joined,
        invited,
      }
    })
    .filter(
      ({ kind, partial, version, join_set: set, joined, invited }) =>
        [kind, partial, version, set].some((fact) => fact !== null) || joined || invited,
    )
}

/** Rows of `extremities` as columns. */
type Edges = { shards: number[]; rooms: number[]; events: number[] }

/** Extremities that come and go in the same batch are never rows. */
export function extremityRows(parts: readonly RoomPart[]): { gone: Edges; added: Edges } {
  const gone: Edges = { shards: [], rooms: [], events: [] }
  const added: Edges = { shards: [], rooms: [], events: [] }
  const put = (
    edges: Edges,
    { shard, roomNid }: RoomPart,
    nids: Set<number>,
    except: Set<number>,
  ) => {
    for (const nid of nids) {
      if (except.has(nid)) continue
      edges.shards.push(shard)
      edges.rooms.push(roomNid)
      edges.events.push(nid)
    }
  }
  for (const part of parts) {
    const come = new Set(part.extremities.added)
    const go = new Set(part.extremities.removed)
    put(gone, part, go, come)
    put(added, part, come, go)
  }
  return { gone, added }
}

/** Missing prev_events that come and go in the same batch are never rows. */
export function missingRows(parts: readonly RoomPart[]) {
  const rows = { added: [] as object[], arrived: [] as object[] }
  for (const { shard, roomNid: room_nid, missing } of parts) {
    const arrived = new Set(missing.arrived.map(byteaText))
    for (const { eventId, childNid } of missing.added) {
      const event_id = byteaText(eventId)
      if (!arrived.has(event_id))
        rows.added.push({ shard, room_nid, event_id, child_nid: childNid })
    }
    for (const event_id of arrived) rows.arrived.push({ shard, room_nid, event_id })
  }
  return rows
}

/** How many more events and deltas build on each snapshot. */
export function snapshotUses(parts: readonly RoomPart[]): Map<string, SnapshotUse> {
  const uses = new Map<string, SnapshotUse>()
  const use = (shard: number, nid: number | null) => {
    if (nid === null) return
    const key = `${shard} ${nid}`
    const known = uses.get(key)
    if (known) known.refs += 1
    else uses.set(key, { shard, snapshot_nid: nid, refs: 1 })
  }
  for (const part of parts) {
    for (const { snapshotNid } of part.events) use(part.shard, snapshotNid)
    for (const { snapshotNid } of part.revised) use(part.shard, snapshotNid)
    for (const { baseNid } of part.snapshots) use(part.shard, baseNid)
  }
  return uses
}
export type SnapshotUse = { shard: number; snapshot_nid: number; refs: number }

/** The last entry of each span and of each redaction. */
export function spanRows(parts: readonly RoomPart[]) {
  return parts.flatMap((part) => {
    const last = new Map(
      part.spans.map((span) => [
        byteaText(span.orderKey),
        {
          shard: part.shard,
          room_nid: part.roomNid,
          order_key: byteaText(span.orderKey),
          chain: span.chain,
          from_index: span.from,
          to_index: span.to,
          gap: span.gap?.length ? span.gap : null,
          hidden: span.hidden,
          after_import: span.afterImport ?? false,
        },
      ]),
    )
    return [...last.values()]
  })
}

export function redactionRows(parts: readonly RoomPart[]) {
  return parts.flatMap((part) => {
    const last = new Map(
      part.redactions.map(({ targetId, redactionNid, applied }) => [
        `${byteaText(targetId)} ${redactionNid}`,
        {
          shard: part.shard,
          room_nid: part.roomNid,
          target_id: byteaText(targetId),
          redaction_nid: redactionNid,
          applied,
        },
      ]),
    )
    return [...last.values()]
  })
}
