import { beforeAll, describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import type { Span } from '#store/room/batch.ts'
import { placeLate } from '#store/room/plan-late.ts'
import { around, ofChain, SpanList } from '#store/room/span-list.ts'
import { Owner, next } from './fixtures.ts'

const db = await testDatabase()

describe('stored spans', () => {
  let owner: Owner
  beforeAll(async () => {
    owner = await Owner.of(db.pool, [8])
  })

  test('are loaded around the places that a plan asks about, and no others', async () => {
    const sql = db.pool
    const part = owner.room(8)
    const keys = [10, 20, 30, 40, 50, 60].map((byte) => Uint8Array.of(byte))
    const span = (at: number, chain: number, from: number | null, to: number | null): Span => ({
      orderKey: keys[at]!,
      chain,
      from,
      to,
      gap: at === 2 ? ['$x:y'] : null,
      hidden: false,
    })
    part.spans.push(
      span(0, 801, null, 4),
      span(1, 802, null, null),
      span(2, 801, 5, 9),
      span(3, 803, null, null),
      span(4, 801, 10, null),
      span(5, 804, null, null),
    )
    part.importChains.push({ chain: 803, publishedAt: 1, hiddenAt: null })
    for (const [chain, index] of [
      [801, -3],
      [801, 12],
      [802, 0],
      [803, 5],
    ] as const)
      owner.event(part, { chain, chainIndex: index, position: null })
    await owner.commit(part)

    const list = new SpanList()
    const places = [{ chain: 801, index: 7 }]
    expect(list.unknown(places)).toEqual(places)
    list.merge(await around(sql, 8, part.roomNid, places))
    expect(list.unknown(places)).toEqual([])
    expect(list.spans.map(({ chain, from }) => [chain, from])).toEqual([
      [802, null],
      [801, 5],
      [803, null],
    ])
    expect(list.spans[1]!.gap).toEqual(['$x:y'])
    expect(list.extent(801)).toEqual({ low: -3, high: 12 })
    expect(list.isImport(803)).toBeTrue()
    expect(list.unknown([{ chain: 802, index: 0 }])).toHaveLength(1)
    const { spans, places: placed } = placeLate(
      list,
      [{ eventId: '$x:y', depth: 1, children: places, lateChildren: [], missing: [] }],
      () => 900,
    )
    expect([...placed.values()]).toEqual([{ chain: 900, index: 0 }])
    const later = next(part)
    later.spans.push(...spans)
    await owner.commit(later)
    list.merge(
      await around(sql, 8, part.roomNid, [
        { chain: 900, index: 0 },
        { chain: 801, index: 0 },
      ]),
    )
    expect(list.spans.map(({ chain, from, to }) => [chain, from, to])).toEqual([
      [801, null, 4],
      [802, null, null],
      [801, 5, 6],
      [900, null, null],
      [801, 7, 9],
      [803, null, null],
    ])
    expect((await ofChain(sql, 8, part.roomNid, 801)).map(({ from }) => from)).toEqual([
      null,
      5,
      7,
      10,
    ])
    expect(list.end(801)).toBeUndefined()
  })
})
