import { expect, test } from 'bun:test'
import type { ListenerConfig } from '#src/config.ts'
import { listen } from '#src/listen.ts'

const anywhere: ListenerConfig = {
  address: '127.0.0.1',
  port: 0,
  serves: ['client'],
  trusted_proxies: [],
}

test('what nobody caught is in the log, and whoever asked is told nothing of it', async () => {
  const logged: unknown[] = []
  const log = { error: (record: unknown) => void logged.push(record) }
  const fault = new Error('a word about this machine')
  const listening = await listen(anywhere, { fetch: () => Promise.reject(fault) }, { log })
  try {
    const response = await fetch(`http://127.0.0.1:${listening.port}/`)
    expect([response.status, await response.json()]).toEqual([
      500,
      { errcode: 'M_UNKNOWN', error: 'Internal server error' },
    ])
    expect(logged).toEqual([{ err: fault }])
  } finally {
    await listening.stop()
  }
})
