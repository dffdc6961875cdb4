import { expect, test } from 'bun:test'
import { Value } from '@sinclair/typebox/value'
import { Config } from '#src/config.ts'
import { federationOptions } from '#src/federation-options.ts'
import { makeCertificates } from '#test/certificates.ts'
import { newFolder } from '#test/folder.ts'

test('the thread that asks other servers gets what the configuration says', async () => {
  const { ca: file } = await makeCertificates(await newFolder('options'))
  const config = Value.Default(Config, {
    server_name: 'here.test',
    federation: {
      static_destinations: { 'there.test': '127.0.0.1:1' },
      extra_ca: [file],
      blocked_ip_ranges: ['10.0.0.0/8'],
      allowed_ip_ranges: ['10.1.0.0/16'],
      notaries: ['notary.test'],
      request_timeout_seconds: 7,
      retry_min_seconds: 0.5,
      retry_max_seconds: 9,
    },
    push: { blocked_ip_ranges: ['10.0.0.0/8'], allowed_ip_ranges: ['10.2.0.0/16'] },
  }) as Config
  expect(await federationOptions(config, 256)).toEqual({
    serverName: 'here.test',
    staticDestinations: { 'there.test': '127.0.0.1:1' },
    extraAuthorities: [await Bun.file(file).text()],
    blockedRanges: ['10.0.0.0/8'],
    allowedRanges: ['10.1.0.0/16'],
    notaries: ['notary.test'],
    gateways: { blocked: ['10.0.0.0/8'], allowed: ['10.2.0.0/16'] },
    requestTimeoutMs: 7_000,
    retryMinMs: 500,
    retryMaxMs: 9_000,
    maxInFlight: 240,
  })
  expect((await federationOptions(config, 10)).maxInFlight).toBe(8)
})
