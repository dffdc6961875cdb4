import type { Buckets } from '#core/histogram.ts'

/**
 * One thing that a thread has counted or found: a total since its start, or what is so just now. Its name
 * stands in the table of `metrics/families.ts`; labels have few values, whatever rooms and servers there are.
 */
export type Sample = {
  name: string
  labels?: { [name: string]: string }
  value: number | Buckets
}
