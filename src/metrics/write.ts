import type { Buckets } from '#core/histogram.ts'
import type { Sample } from '#engine/worker/measured.ts'
import { type Kind, families } from './families.ts'

type Value = { value: number; labels: Record<string, string>; metricName?: string }

const prefix = 'laneway_'

/** Writes what was measured in the form that Prometheus reads. Each sample is of its own labels. */
export async function write(samples: readonly Sample[]): Promise<string> {
  const byName = Map.groupBy(samples, ({ name }) => name)
  const metrics = Array.from(byName, ([name, of]) => {
    const [type, help] = families[name] ?? [kindOf(of[0]!), 'Not described']
    const values = of.flatMap(({ labels = {}, value }): Value[] =>
      typeof value === 'number' ? [{ value, labels }] : [...valuesOf(prefix + name, labels, value)],
    )
    return { name: prefix + name, help, type, values, aggregator: 'first' }
  })
  // It takes 17 MB, which whoever is never asked can do without.
  const { AggregatorRegistry } = await import('prom-client')
  return AggregatorRegistry.aggregate([metrics]).metrics()
}

/** Spec: prometheus.io, exposition formats: buckets are cumulative, the last one holds all. */
function* valuesOf(
  name: string,
  labels: Record<string, string>,
  { bounds, counts, sum }: Buckets,
): Generator<Value> {
  let total = 0
  for (const [index, count] of counts.entries()) {
    total += count
    const le = index < bounds.length ? String(bounds[index]) : '+Inf'
    yield { value: total, labels: { ...labels, le }, metricName: `${name}_bucket` }
  }
  yield { value: sum, labels, metricName: `${name}_sum` }
  yield { value: total, labels, metricName: `${name}_count` }
}

const kindOf = ({ name, value }: Sample): Kind => {
  if (typeof value !== 'number') return 'histogram'
  return name.endsWith('_total') ? 'counter' : 'gauge'
}
