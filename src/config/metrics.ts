import { Type as t } from '@sinclair/typebox'
import { section } from '#src/config/options.ts'

export const metrics = section(
  'What Prometheus reads at /_laneway/metrics, on listeners that serve metrics; no other one does.',
  {
    token: t.Optional(
      t.String({
        description:
          'What it has to present as bearer token. Left out, only this machine itself is let in, on listeners at loopback addresses that serve nothing else.',
        examples: ['a-long-random-text'],
        pattern: '^\\S{16,}$',
        secret: true,
      }),
    ),
  },
)
