import type { Plan } from '#importers/plan/plan.ts'
import { grouped } from '#importers/report/progress.ts'
import type { Summary } from '#importers/report/problems-report.ts'
import type { Ledger } from '#importers/state/ledger.ts'
import type { Problems } from '#importers/state/problems.ts'

/** What stands at the head of a report: what was imported, from where and to where. */
export function summaryOf(plan: Plan, ledger: Ledger, problems: Problems): Summary {
  const sessions = ledger.sessions().filter(({ state }) => state === 'committed')
  const events = sessions.reduce((sum, { accepted }) => sum + accepted, 0)
  const rooms = new Set(sessions.map(({ room }) => room)).size
  const records = ledger.kindCounts().reduce((sum, { count }) => sum + count, 0)
  return {
    title: `Import of ${plan.export.path}`,
    rows: [
      ['Format', plan.export.format],
      ['Server', plan.server.url],
      ['Read', `${grouped(records)} records`],
      ['Imported', `${grouped(events)} events into ${grouped(rooms)} rooms`],
      ['Skipped', grouped(problems.skipped)],
    ],
  }
}
