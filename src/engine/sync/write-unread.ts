import type { JsonObject } from '#core/json.ts'
import type { Counts, Unread } from './arrivals.ts'

/** The counts of one room: of threads apart if the client asks for it, else all in one. */
export function writeUnread({ main, threads }: Unread, apart: boolean): JsonObject {
  if (apart)
    return {
      unread_notifications: countsOf(main),
      ...(threads.size > 0 && {
        unread_thread_notifications: Object.fromEntries(
          Array.from(threads, ([root, counts]) => [root, countsOf(counts)]),
        ),
      }),
    }
  const all = [main, ...threads.values()]
  return {
    unread_notifications: countsOf({
      notify: all.reduce((sum, { notify }) => sum + notify, 0),
      highlight: all.reduce((sum, { highlight }) => sum + highlight, 0),
    }),
  }
}

const countsOf = ({ notify, highlight }: Counts): JsonObject => ({
  highlight_count: highlight,
  notification_count: notify,
})
