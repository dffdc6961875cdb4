import { Histogram } from '#core/histogram.ts'

/** What was asked of one route: how long the answers took, in milliseconds, and their statuses. */
export type Route = {
  readonly method: string
  /** With names in place of what differs from call to call; `unmatched` for what leads nowhere. */
  readonly route: string
  readonly times: Histogram
  readonly statuses: Map<number, number>
}

const bounds: readonly number[] = [1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000, 30_000]

/** Counts the requests of all listeners by route. */
export class RequestTimes {
  readonly #routes = new Map<string, Route>()
  /** Requests that are not answered yet. */
  underWay = 0

  /** The count of one route, which whoever answers it keeps. */
  of(method: string, route: string): Route {
    const name = `${method} ${route}`
    let found = this.#routes.get(name)
    if (!found) {
      found = { method, route, times: new Histogram(bounds), statuses: new Map() }
      this.#routes.set(name, found)
    }
    return found
  }

  /** Those that were asked at least once. */
  *asked(): Generator<Route> {
    for (const route of this.#routes.values()) if (route.statuses.size > 0) yield route
  }
}

export function count({ times, statuses }: Route, status: number, ms: number): void {
  times.add(ms)
  statuses.set(status, (statuses.get(status) ?? 0) + 1)
}
