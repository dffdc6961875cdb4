import { describe, expect, test } from 'bun:test'
import type { Dialer, HttpAnswer, HttpRequest } from '#engine/federation/dialer.ts'
import type { Target } from '#engine/federation/discovery.ts'
import { WellKnown } from '#engine/federation/well-known.ts'

const minute = 60_000
const hour = 60 * minute
const start = Date.UTC(2026, 0, 1)

/** A site whose answers a test gives, and a clock. */
class Site {
  now = start
  asked = 0
  /** Where each request went: host, port, `Host` and path. */
  readonly seen: string[] = []
  answer: () => HttpAnswer = delegation()
  readonly #wellKnown = new WellKnown({
    dialer: {
      send: async ({ host, port, hostHeader }: Target, { uri }: HttpRequest) => {
        this.asked++
        this.seen.push(`${host}:${port} ${hostHeader} ${uri}`)
        return this.answer()
      },
    } as unknown as Dialer,
    clock: () => this.now,
  })

  lookUp(after = 0): Promise<string | undefined> {
    this.now += after
    return this.#wellKnown.lookUp('site.test', new AbortController().signal)
  }

  /** Whether one ms before this time it is not asked again, and at it it is. */
  async isAskedAfter(ms: number): Promise<boolean> {
    const before = this.asked
    await this.lookUp(ms - 1)
    const early = this.asked > before
    await this.lookUp(1)
    return !early && this.asked === before + 1
  }
}

const delegation =
  (headers: Record<string, string> = {}, server = 'delegated.test') =>
  (): HttpAnswer => ({
    status: 200,
    headers: new Headers(headers),
    body: JSON.stringify({ 'm.server': server }),
  })
const failure = (): HttpAnswer => ({ status: 500, headers: new Headers(), body: '' })
const later = (ms: number) => new Date(start + ms).toUTCString()

describe('a well-known file is kept', () => {
  test.each<[string, Record<string, string>, number]>([
    ['for a day if it does not say', {}, 24 * hour],
    ['for as long as it says', { 'cache-control': 'public, max-age=7200' }, 2 * hour],
    ['until the time that it names', { expires: later(3 * hour) }, 3 * hour],
    [
      'by its age, where it names a time too',
      { 'cache-control': 'max-age=7200', expires: later(9 * hour) },
      2 * hour,
    ],
    ['for two days at most', { 'cache-control': 'max-age=31536000' }, 48 * hour],
    ['for two days at most, whatever time it names', { expires: later(900 * hour) }, 48 * hour],
    // Not spec: it would cost a request each time.
    ['for five minutes at least', { 'cache-control': 'no-store' }, 5 * minute],
    ['for five minutes at least if it is old already', { expires: later(-hour) }, 5 * minute],
    ['for five minutes if what it says is no time', { expires: '0' }, 5 * minute],
  ])('%s', async (_name, headers, kept) => {
    const site = new Site()
    site.answer = delegation(headers)
    expect(await site.lookUp()).toBe('delegated.test')
    expect(await site.isAskedAfter(kept)).toBe(true)
  })
})

const redirect = (location: string, status = 302): HttpAnswer => ({
  status,
  headers: new Headers({ location }),
  body: '',
})

describe('a redirect of a well-known file', () => {
  test.each([301, 302, 303, 307, 308])('of status %i is followed', async (status) => {
    const site = new Site()
    site.answer = () =>
      site.asked === 1 ? redirect('https://other.test:444/a?b=c', status) : delegation()()
    expect(await site.lookUp()).toBe('delegated.test')
    expect(site.seen).toEqual([
      'site.test:443 site.test /.well-known/matrix/server',
      'other.test:444 other.test:444 /a?b=c',
    ])
  })

  test('may be to a path of the same host', async () => {
    const site = new Site()
    site.answer = () => (site.asked === 1 ? redirect('../there') : delegation()())
    expect(await site.lookUp()).toBe('delegated.test')
    expect(site.seen[1]).toBe('site.test:443 site.test /.well-known/there')
  })

  test('is followed five times, and no sixth time', async () => {
    const site = new Site()
    site.answer = () => (site.asked <= 5 ? redirect(`/${site.asked}`) : delegation()())
    expect(await site.lookUp()).toBe('delegated.test')
    const far = new Site()
    far.answer = () => (far.asked <= 6 ? redirect(`/${far.asked}`) : delegation()())
    expect(await far.lookUp()).toBeUndefined()
    expect(far.asked).toBe(6)
  })

  test.each([
    'http://other.test/',
    'https://me@other.test/',
    'ftp://other.test/',
    'https://:1/',
    '',
  ])('to %p is no answer', async (location) => {
    const site = new Site()
    site.answer = () => redirect(location)
    expect(await site.lookUp()).toBeUndefined()
    expect(site.seen.filter((each) => !each.startsWith('site.test:443'))).toEqual([])
  })

  test('says how long to keep what it led to, not what led there', async () => {
    const site = new Site()
    const led = { ...redirect('/there'), headers: new Headers({ location: '/there' }) }
    led.headers.set('cache-control', 'max-age=600')
    site.answer = () =>
      site.seen.at(-1)!.endsWith('/there') ? delegation({ 'cache-control': 'max-age=7200' })() : led
    await site.lookUp()
    const { asked } = site
    await site.lookUp(2 * hour - 1)
    expect(site.asked).toBe(asked)
    await site.lookUp(1)
    expect(site.asked).toBe(2 * asked)
  })
})

describe('a well-known file that cannot be had', () => {
  const ok = (body: string, status = 200): HttpAnswer => ({ status, headers: new Headers(), body })
  test.each<[string, () => HttpAnswer]>([
    ['is not there', () => ok('{"m.server":"delegated.test"}', 404)],
    ['is told of with another status', () => ok('{"m.server":"delegated.test"}', 201)],
    ['is no JSON', () => ok('{"m.server":')],
    ['is no object', () => ok('["m.server"]')],
    ['lacks its property', () => ok('{"server":"delegated.test"}')],
    ['has another type', () => ok('{"m.server":1}')],
    ['names no server', () => ok('{"m.server":"https://delegated.test"}')],
    [
      'breaks off',
      () => {
        throw new Error('The connection was closed')
      },
    ],
  ])('since it %s is looked for again within the hour', async (_name, answer) => {
    const site = new Site()
    site.answer = answer
    expect(await site.lookUp()).toBeUndefined()
    expect(await site.isAskedAfter(minute)).toBe(true)
    for (let hours = 0; hours < 10; hours++) await site.lookUp(hour)
    expect(await site.isAskedAfter(hour)).toBe(true)
  })

  test('is asked for again later and later, after an hour at most', async () => {
    const site = new Site()
    site.answer = failure
    expect(await site.lookUp()).toBeUndefined()
    for (const minutes of [1, 2, 4, 8, 16, 32, 60, 60])
      expect({ minutes, isIt: await site.isAskedAfter(minutes * minute) }).toEqual({
        minutes,
        isIt: true,
      })
    // It is there at last, and failures begin anew.
    site.answer = delegation({ 'cache-control': 'max-age=600' })
    expect(await site.lookUp(hour)).toBe('delegated.test')
    site.answer = failure
    await site.lookUp(10 * minute)
    expect(await site.isAskedAfter(minute)).toBe(true)
  })

  test('stands as it was for two days, and no longer', async () => {
    const site = new Site()
    await site.lookUp()
    site.answer = failure
    expect(await site.lookUp(24 * hour)).toBe('delegated.test')
    expect(await site.lookUp(24 * hour - 1)).toBe('delegated.test')
    expect(await site.lookUp(hour)).toBeUndefined()
  })

  test('is replaced by what it says later', async () => {
    const site = new Site()
    await site.lookUp()
    site.answer = delegation({}, 'moved.test:443')
    expect(await site.lookUp(23 * hour)).toBe('delegated.test')
    expect(await site.lookUp(hour)).toBe('moved.test:443')
  })
})
