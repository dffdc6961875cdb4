import { describe, expect, test } from 'bun:test'
import { hide, openChain, publish } from '#store/room/plan-spans.ts'
import { random } from './random.ts'
import { SpanRoom } from './span-room.ts'

describe('live events', () => {
  test('touch no span', () => {
    const room = new SpanRoom()
    for (const id of ['a', 'b', 'c']) room.append(id)
    expect(room.puts).toBe(1)
    expect(room.read()).toEqual(['a', 'b', 'c'])
  })

  test('begin a span where something before them is missing', () => {
    const room = new SpanRoom()
    room.append('a')
    room.append('b', ['x', 'y'])
    room.append('c')
    expect(room.read()).toEqual(['a', '[x,y]', 'b', 'c'])
    expect(room.rows.size).toBe(2)
  })
})

describe('a late event', () => {
  test('goes directly before the event that cites it, and its own gap before it', () => {
    const room = new SpanRoom()
    room.append('a')
    room.append('d', ['c'])
    room.append('e')
    room.late([{ id: 'c', cites: ['b'] }])
    expect(room.read()).toEqual(['a', '[b]', 'c', 'd', 'e'])
    room.late([{ id: 'b', cites: ['a'] }])
    expect(room.read()).toEqual(['a', 'b', 'c', 'd', 'e'])
    // One span for the missing event: the second one extends the chain that the first one opened.
    expect(room.rows.size).toBe(3)
  })

  test('before the room’s first event extends its chain towards older', () => {
    const room = new SpanRoom()
    room.append('m', ['l'])
    for (const [id, cited] of ['lk', 'kj', 'ji', 'ih']) room.late([{ id: id!, cites: [cited!] }])
    expect(room.read()).toEqual(['[h]', 'i', 'j', 'k', 'l', 'm'])
    expect(room.placed.get('i')).toEqual({ chain: 1, index: -4 })
    expect(room.rows.size).toBe(1)
  })

  test('of several that one event cites, goes after the others, and what is missing stays missing', () => {
    const room = new SpanRoom()
    room.append('a')
    room.append('z', ['p', 'q', 'r'])
    room.late([{ id: 'p', cites: ['a'] }])
    expect(room.read()).toEqual(['a', 'p', '[q,r]', 'z'])
    room.late([{ id: 'r', cites: ['a'] }])
    expect(room.read()).toEqual(['a', 'p', 'r', '[q]', 'z'])
    room.late([{ id: 'q', cites: ['o'] }])
    expect(room.read()).toEqual(['a', 'p', 'r', '[o]', 'q', 'z'])
  })

  test('cited twice, goes before the one that reads first, and no gap names it any more', () => {
    const room = new SpanRoom()
    room.append('a')
    room.append('b', ['x'])
    room.append('c')
    room.append('d', ['x', 'y'])
    room.late([{ id: 'x', cites: ['a'] }])
    expect(room.read()).toEqual(['a', 'x', 'b', 'c', '[y]', 'd'])
  })

  test('in the middle of a span cuts it', () => {
    const room = new SpanRoom()
    for (const id of ['a', 'b', 'c', 'd']) room.append(id)
    room.cite('c', ['x'])
    room.late([{ id: 'x', cites: ['a'] }])
    expect(room.read()).toEqual(['a', 'b', 'x', 'c', 'd'])
    room.append('e')
    expect(room.read()).toEqual(['a', 'b', 'x', 'c', 'd', 'e'])
    expect(room.rows.size).toBe(3)
  })

  test('that nothing placed leads to has no place', () => {
    const room = new SpanRoom()
    room.append('a')
    expect(room.late([{ id: 'x' }, { id: 'y', cites: ['x'] }])).toEqual({
      places: new Map(),
      spans: [],
    })
  })

  test('comes with others: a branch is one stretch, and takes one span', () => {
    const room = new SpanRoom()
    room.append('a')
    room.append('z', ['y', 'x'])
    room.late([
      { id: 'x', cites: ['v'], depth: 5 },
      { id: 'v', cites: ['a'], depth: 4 },
      { id: 'w', cites: ['a'], depth: 8 },
      { id: 'y', cites: ['w'], depth: 9 },
    ])
    expect(room.read()).toEqual(['a', 'v', 'x', 'w', 'y', 'z'])
    expect(room.rows.size).toBe(3)
  })

  test('behind an absence extends the new chain, and never fills the old one', () => {
    const room = new SpanRoom()
    room.append('a')
    const chain = room.nextChain()
    room.put([openChain(room.list.spans.at(-1)!, chain, ['g'])])
    room.live = { chain, next: 0 }
    room.append('h')
    room.missing.set('g', ['h'])
    room.append('i')
    expect(room.read()).toEqual(['a', '[g]', 'h', 'i'])
    room.late([{ id: 'g', cites: ['f'] }])
    room.late([{ id: 'f', cites: ['a'] }])
    expect(room.read()).toEqual(['a', 'f', 'g', 'h', 'i'])
    expect(room.placed.get('f')).toEqual({ chain, index: -2 })
    expect(room.rows.size).toBe(2)
  })
})

describe('any order of arrival', () => {
  test('reads ancestors first, keeps every place, and opens a span for a missing event at most', () => {
    for (let seed = 1; seed <= 150; seed++) {
      const draw = random(seed)
      const size = 5 + draw(40)
      const ids = Array.from({ length: size }, (_, at) => `e${at}`)
      const cites = new Map(
        ids.map((id, at) => [
          id,
          [...new Set(Array.from({ length: 1 + draw(3) }, () => at - 1 - draw(Math.min(at, 4))))]
            .filter((cited) => cited >= 0)
            .map((cited) => ids[cited]!),
        ]),
      )
      const room = new SpanRoom()
      const here = new Set<string>()
      let cuts = 0
      // Live: some of the events, in order. What they cite and is not there is missing.
      const lost: string[] = []
      for (const id of ids) {
        if (draw(3) === 0 && id !== ids.at(-1)) {
          lost.push(id)
          continue
        }
        room.append(
          id,
          cites.get(id)!.filter((cited) => !here.has(cited)),
        )
        here.add(id)
      }
      // Late: whatever is cited by something that is here, in batches of any size.
      for (;;) {
        const before = room.read()
        const ready = lost.filter((id) => !room.placed.has(id) && room.missing.has(id))
        if (ready.length === 0) break
        const batch = new Set([ready[draw(ready.length)]!])
        const wide = draw(8)
        for (let more = 0; more < wide; more++)
          for (const id of batch)
            for (const cited of cites.get(id)!)
              if (lost.includes(cited) && !room.placed.has(cited) && draw(2)) batch.add(cited)
        const events = [...batch].map((id) => ({
          id,
          cites: cites.get(id)!,
          depth: ids.indexOf(id),
        }))
        // The order within a batch is of no account.
        if (draw(2)) events.reverse()
        room.late(events)
        cuts += events.length
        // What was there reads in the order in which it did.
        const after = room.read()
        const old = before.filter((id) => room.placed.has(id))
        expect(after.filter((id) => old.includes(id))).toEqual(old)
      }
      const order = room.read()
      // No event is left that something here misses, so no gap is left either.
      expect(order.filter((id) => id.startsWith('['))).toEqual([])
      const place = new Map(order.map((id, at) => [id, at]))
      expect(place.size).toBe(order.length)
      expect(new Set(order)).toEqual(new Set(room.placed.keys()))
      for (const id of order)
        for (const cited of cites.get(id)!) {
          const [parent, child] = [place.get(cited), place.get(id)!]
          if (parent !== undefined && parent >= child)
            // Only what came before the event that ties them together: nobody knew.
            expect(lost.some((each) => cites.get(id)!.includes(each) || each === id)).toBeTrue()
        }
      expect(room.rows.size).toBeLessThanOrEqual(1 + 2 * (lost.length + cuts) + lost.length)
      const places = [...room.placed.values()].map(({ chain, index }) => `${chain} ${index}`)
      expect(new Set(places).size).toBe(places.length)
    }
  })
})

describe('an import', () => {
  const imported = (room: SpanRoom, count: number) => {
    const chain = room.nextChain()
    for (let index = 0; index < count; index++) {
      room.placed.set(`i${index}`, { chain, index })
      room.list.used(chain, index)
    }
    return chain
  }
  const live = (room: SpanRoom) => ({
    span: room.list.end(room.live.chain)!,
    nextIndex: room.live.next,
  })

  test('is published in the middle by a row and a cut, and hidden by a row', () => {
    const room = new SpanRoom()
    for (const id of ['a', 'b', 'c']) room.append(id)
    const chain = imported(room, 3)
    expect(room.read()).toEqual(['a', 'b', 'c'])
    const { spans, importChain } = publish(room.list, chain, room.placed.get('b')!, live(room), 77)
    expect(spans).toHaveLength(3)
    expect(importChain).toEqual({ chain, publishedAt: 77, hiddenAt: null })
    room.put(spans)
    room.append('d')
    expect(room.read()).toEqual(['a', 'i0', 'i1', 'i2', 'b', 'c', 'd'])
    const undone = hide(
      room.list.spans.filter((span) => span.chain === chain),
      importChain,
      80,
    )
    expect(undone.importChain.hiddenAt).toBe(80)
    room.put(undone.spans)
    expect(undone.spans).toHaveLength(1)
    expect(room.read()).toEqual(['a', 'b', 'c', 'd'])
    expect(room.read(true)).toEqual(['a', 'i0', 'i1', 'i2', 'b', 'c', 'd'])
  })

  test('is published before the room’s first event, and at its end', () => {
    const room = new SpanRoom()
    room.append('a')
    const first = imported(room, 1)
    room.put(publish(room.list, first, room.placed.get('a')!, live(room), 1).spans)
    const chain = room.nextChain()
    room.placed.set('j', { chain, index: 0 })
    room.put(publish(room.list, chain, null, live(room), 2).spans)
    room.append('b')
    expect(room.read()).toEqual(['i0', 'a', 'j', 'b'])
  })

  test('never takes in an event of the room', () => {
    const room = new SpanRoom()
    room.append('a')
    room.append('b', ['x'])
    const chain = imported(room, 2)
    // As it is loaded: the list knows an import by its row.
    const { spans } = publish(room.list, chain, room.placed.get('b')!, live(room), 1)
    room.put(spans)
    room.list.merge([
      {
        order_key: room.list.spans.find((span) => span.chain === chain)!.orderKey,
        chain,
        from_index: null,
        to_index: null,
        gap: null,
        hidden: false,
        after_import: false,
        low: 0,
        high: 1,
        imported: true,
        settled: true,
      },
    ])
    room.late([{ id: 'x', cites: ['a'] }])
    expect(room.placed.get('x')!.chain).not.toBe(chain)
    expect(room.read()).toEqual(['a', 'i0', 'i1', 'x', 'b'])
  })
})
