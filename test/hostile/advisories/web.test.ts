import { afterAll, expect, test } from 'bun:test'
import { readPage } from '#engine/media/preview/page.ts'
import {
  Authority,
  fixedDns,
  Peer,
  startEngine,
  testOptions,
} from '#test/engine/federation/peers.ts'
import { testDatabase } from '#test/database.ts'

const database = await testDatabase()
const authority = await Authority.make()
afterAll(() => authority.remove())

test('CVE-2022-31052: a page whose parts stand in each other without end is read all the same', () => {
  const depth = 200_000
  const html = `<title>deep</title>${'<div><p><b>'.repeat(depth)}<meta property="og:site_name" content="x">`
  expect(readPage(html, 'https://x.test/').properties).toMatchObject({
    'og:site_name': 'x',
  })
})

test('CVE-2021-21274: a well-known file that is led to a large one is none', async () => {
  const evil = new Peer('evil.test', '127.0.0.1', await authority.certify('evil.test'))
  let sent = 0
  evil.answer = ({ uri }) => {
    if (!uri.endsWith('/large'))
      return new Response(null, {
        status: 302,
        headers: { location: `https://evil.test:${evil.port}/large` },
      })
    const body = new ReadableStream<Uint8Array>({
      pull: (stream) => {
        sent += 65_536
        stream.enqueue(new Uint8Array(65_536).fill(32))
      },
    })
    return new Response(body)
  }
  const options = testOptions('here.test', { peers: [], authority })
  const engine = await startEngine(database.pool, options, {
    dns: fixedDns({ 'evil.test': ['127.0.0.1'] }),
    wellKnownPort: evil.port,
  })
  try {
    const ended = new AbortController()
    const targets = await engine.discovery.find('evil.test', ended.signal)
    // It is asked where a server without such a file is.
    expect(targets).toMatchObject([{ host: 'evil.test', port: 8448 }])
    expect(evil.seen.length).toBeGreaterThan(1)
    expect(sent).toBeLessThan(50_000_000)
  } finally {
    await engine.stop()
    await evil.stop()
  }
})
