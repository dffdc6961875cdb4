import { join } from 'node:path'
import type { Problem, ProblemClass } from '#importers/format.ts'
import { escapeHtml } from '#importers/markup/html.ts'
import type { ProblemCount, Problems } from '#importers/state/problems.ts'
import { adviceFor } from './advice.ts'
import { grouped } from './progress.ts'

/** Rows of one kind that a page shows; the NDJSON has all. */
const mostShown = 5000

export const doneText: { [done in Problem['done']]: string } = {
  skipped: 'not imported',
  split: 'imported as several events',
  degraded: 'imported with something missing',
  left_out: 'left out as it should be',
}

/** What was lost first. */
const order = ['skipped', 'degraded', 'split', 'left_out'] as const

export type Summary = { title: string; rows: readonly (readonly [string, string])[] }

/** Writes `report.ndjson` and `report.html` into a folder; what is in them came from the export and is escaped. */
export async function writeReports(
  folder: string,
  problems: Problems,
  summary: Summary,
): Promise<{ html: string; ndjson: string }> {
  const ndjson = join(folder, 'report.ndjson')
  const html = join(folder, 'report.html')
  const lines = Bun.file(ndjson).writer()
  let written = 0
  for (const problem of problems.all()) {
    await lines.write(`${JSON.stringify(problem)}\n`)
    // The writers hold what they are given until they are told to let it go.
    if (++written % 1000 === 0) await lines.flush()
  }
  await lines.end()
  const page = Bun.file(html).writer()
  await page.write(head(summary))
  const counts = order.flatMap((done) => problems.counts().filter((each) => each.done === done))
  await page.write(counts.length > 0 ? contents(counts) : '<p>Nothing was lost.</p>\n')
  for (const count of counts) {
    await page.write(sectionHead(count))
    let shown = 0
    for (const problem of problems.of(count.class, count.done, mostShown)) {
      await page.write(row(problem))
      if (++shown % 1000 === 0) await page.flush()
    }
    await page.write('</table>\n')
    if (count.count > mostShown)
      await page.write(
        `<p>${grouped(count.count - mostShown)} more are in report.ndjson, which has all of them.</p>\n`,
      )
  }
  await page.write('</body></html>\n')
  await page.end()
  return { html, ndjson }
}

const head = ({ title, rows }: Summary) => `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escapeHtml(title)}</title>
<style>body{font:15px/1.4 system-ui,sans-serif;max-width:80rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}
table{border-collapse:collapse;width:100%;margin-bottom:1rem}
td,th{border-bottom:1px solid #8886;padding:.3rem .6rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}
.n{text-align:right;white-space:nowrap}code{font-size:.9em}</style>
</head><body><h1>${escapeHtml(title)}</h1><table>
${rows.map(([name, value]) => `<tr><th>${escapeHtml(name)}</th><td>${escapeHtml(value)}</td></tr>`).join('\n')}
</table>
`

const anchor = ({ class: what, done }: Pick<ProblemCount, 'class' | 'done'>) => `${what}-${done}`
const named = (what: ProblemClass) => what.replaceAll('_', ' ')

const contents = (
  counts: readonly ProblemCount[],
) => `<table><tr><th>What</th><th>What became of it</th><th class="n">How many</th></tr>
${counts
  .map(
    (each) =>
      `<tr><td><a href="#${anchor(each)}">${named(each.class)}</a></td><td>${doneText[each.done]}</td><td class="n">${grouped(each.count)}</td></tr>`,
  )
  .join('\n')}
</table>
`

const sectionHead = (
  count: ProblemCount,
) => `<h2 id="${anchor(count)}">${named(count.class)}: ${doneText[count.done]} (${grouped(count.count)})</h2>
<p>${escapeHtml(adviceFor(count.class, count.done))}</p>
<table><tr><th>File</th><th class="n">Line</th><th class="n">Byte</th><th>Room</th><th>ID</th><th>Reason</th></tr>
`

const row = ({ place, room = '', id = '', reason }: Problem) =>
  `<tr><td>${escapeHtml(place.file)}</td><td class="n">${place.line ?? ''}</td><td class="n">${place.offset ?? ''}</td>` +
  `<td>${escapeHtml(room)}</td><td><code>${escapeHtml(id)}</code></td><td>${escapeHtml(reason)}</td></tr>\n`
