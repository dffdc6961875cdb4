import { expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { AuthPending, pendingOf } from '#store/room/auth-pending.ts'
import { packEventId } from '#store/room/event-id.ts'
import { Owner, next } from './fixtures.ts'

const { pool: sql } = await testDatabase()

test('a late ancestor completes what waits for it, and what waits for that, parents first', () => {
  const pending = new AuthPending()
  let count = 10
  const number = () => count++
  pending.add(1, 'a', ['x', 'k'], new Map([['k', 3]]))
  pending.add(2, 'b', ['a', 'y'], new Map())
  pending.add(3, 'c', ['a'], new Map())
  expect(pending.numbered('unrelated', 4, number)).toEqual([])
  expect(pending.numbered('x', 5, number)).toEqual([
    { eventNid: 1, order: 10, parents: [5, 3] },
    { eventNid: 3, order: 11, parents: [10] },
  ])
  expect(pending.size).toBe(1)
  expect(pending.numbered('y', 6, number)).toEqual([{ eventNid: 2, order: 12, parents: [10, 6] }])
  expect(pending.size).toBe(0)
})

test('what waits is stored until it has its number', async () => {
  const owner = await Owner.of(sql, [9])
  const part = owner.room(9)
  const numbered = owner.event(part)
  part.auth.push({ eventNid: numbered.eventNid, order: 0, parents: [] })
  const event = owner.event(part)
  const lost = packEventId('$lost:x')
  part.authPending.push({ eventNid: event.eventNid, cites: [lost, numbered.eventId] })
  await owner.commit(part)
  const [row] = await pendingOf(sql, 9, part.roomNid)
  expect(row).toMatchObject({ event_nid: event.eventNid, orders: [-1, 0] })
  expect(Buffer.from(row!.cites[0]!).toString()).toBe('$lost:x')

  const later = next(part)
  const late = owner.event(later, { eventId: lost })
  later.auth.push(
    { eventNid: late.eventNid, order: 1, parents: [] },
    { eventNid: event.eventNid, order: 2, parents: [1, 0] },
  )
  await owner.commit(later)
  expect(await pendingOf(sql, 9, part.roomNid)).toHaveLength(0)
})
