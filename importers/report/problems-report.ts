import { join } from 'node:path'
import type { Problem } from '#importers/format.ts'
import { escapeHtml } from '#importers/markup/html.ts'
import { placeText, type Problems } from '#importers/state/problems.ts'

/** Rows of one kind that a page shows; the NDJSON has all. */
const mostShown = 5000

export const doneText: { [done in Problem['done']]: string } = {
  skipped: 'not imported',
  split: 'imported as several events',
  degraded: 'imported with something missing',
  left_out: 'left out as it should be',
}

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
  const page = Bun.file(html).writer()
  await page.write(head(summary))
  await page.write('<h2>Counts</h2><table><tr><th>What</th><th>Became</th><th>How many</th></tr>')
  for (const { class: what, done, count } of problems.counts())
    await page.write(`<tr><td>${what}</td><td>${doneText[done]}</td><td>${count}</td></tr>`)
  await page.write(
    '</table><h2>Records</h2><table><tr><th>What</th><th>Became</th><th>Where</th><th>Room</th><th>Reason</th></tr>',
  )
  const shown = new Map<string, number>()
  let written = 0
  for (const problem of problems.all()) {
    await lines.write(`${JSON.stringify(problem)}\n`)
    const kind = `${problem.class} ${problem.done}`
    const before = shown.get(kind) ?? 0
    shown.set(kind, before + 1)
    if (before < mostShown) await page.write(row(problem))
    // The writers hold what they are given until they are told to let it go.
    if (++written % 1000 === 0) await Promise.all([lines.flush(), page.flush()])
  }
  await page.write('</table>')
  for (const [kind, count] of shown)
    if (count > mostShown)
      await page.write(`<p>${kind}: ${count - mostShown} more in report.ndjson</p>`)
  await page.write('</body></html>\n')
  await Promise.all([lines.end(), page.end()])
  return { html, ndjson }
}

const head = ({ title, rows }: Summary) => `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${escapeHtml(title)}</title>
<style>body{font:15px/1.4 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ccc;padding:.3rem .6rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}</style>
</head><body><h1>${escapeHtml(title)}</h1><table>
${rows.map(([name, value]) => `<tr><th>${escapeHtml(name)}</th><td>${escapeHtml(value)}</td></tr>`).join('\n')}
</table>`

const row = (problem: Problem) =>
  `<tr><td>${problem.class}</td><td>${doneText[problem.done]}</td><td>${escapeHtml(placeText(problem))}</td>` +
  `<td>${escapeHtml(problem.room ?? '')}</td><td>${escapeHtml(problem.reason)}</td></tr>\n`
