import { seconds, section, texts, whole } from '#src/config/options.ts'

/** Bridges and bots that the operator registers. */
export const appservices = section('Application services.', {
  files: texts('Their registration files (YAML).', {
    examples: [['/etc/laneway/bridge.yaml']],
  }),
  request_timeout_seconds: seconds(
    60,
    0.1,
    600,
    'The longest that sending one a transaction takes.',
  ),
  retry_min_seconds: seconds(
    1,
    0.01,
    86_400,
    'How long one that failed is left alone; doubles with every further failure.',
  ),
  retry_max_seconds: seconds(300, 0.01, 604_800, 'The longest that it is left alone.'),
  max_queued_events: whole(
    1_000_000,
    100,
    1_000_000_000,
    'Events that wait for one that is away; of more the oldest are dropped.',
  ),
  keep_days: whole(30, 1, 3_650, 'Events that have waited for longer are dropped.'),
})
