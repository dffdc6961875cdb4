import {
  type Figure,
  type Result,
  type Verdict,
  targetText,
  valueText,
  verdictOf,
} from '#bench/figures.ts'
import { drawChart, drawSeries } from './charts.ts'
import type { Machine } from './machine.ts'

/** What became of one bench. */
export type Outcome = {
  name: string
  what: string
  seconds: number
  failure?: string
  result?: Result
}

export type Report = { began: Date; short: boolean; machine: Machine; outcomes: Outcome[] }

const marks: Record<Verdict, [mark: string, words: string]> = {
  goal: ['✓', 'goal'],
  first: ['~', 'first target'],
  missed: ['✗', 'missed'],
}

/** A page that needs nothing but itself: what ran where, targets beside figures, charts, every figure. */
export function writeReport(report: Report): string {
  const { began, short, machine, outcomes } = report
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Laneway: benches of ${day(began)}</title>
<style>${style}</style>
</head>
<body>
<header>
<h1>Laneway, measured</h1>
<p class="lead">${day(began)}, ${clock(began)} UTC${short ? '. <strong>A short round</strong>: it shows that everything runs and counts right, its times say little' : ''}.</p>
<dl class="machine">${Object.entries(machine)
    .map(([name, value]) => `<div><dt>${text(name)}</dt><dd>${text(value)}</dd></div>`)
    .join('')}</dl>
</header>
<main>
${targets(outcomes, short)}
${outcomes.map((outcome) => section(outcome, short)).join('\n')}
</main>
<footer>
<p>Made by <code>bun run bench all</code>. Server, PostgreSQL and what loads them shared this machine; figures beside each other come from one run.</p>
</footer>
</body>
</html>
`
}

/** What has a target; of counts only how many are right, and which are not. */
function targets(outcomes: readonly Outcome[], short: boolean): string {
  const judged = outcomes.flatMap(({ name, result }) =>
    (result?.figures ?? []).flatMap((figure) => (figure.target ? [{ name, figure }] : [])),
  )
  const right = judged.filter(({ figure }) => isCount(figure) && verdictOf(figure) === 'goal')
  const others = judged.filter((each) => !right.includes(each))
  const counts = { goal: 0, first: 0, missed: 0 }
  for (const { figure } of others) counts[verdictOf(figure)!]++
  const against = outcomes.find(({ result }) => result?.against !== undefined)?.result?.against
  const bodies = [...Map.groupBy(others, ({ name }) => name)].map(
    ([name, own]) =>
      `<tbody><tr class="group"><th colspan="6" scope="rowgroup"><a href="#${text(name)}">${text(name)}</a></th></tr>${own
        .map(
          ({ figure }) =>
            `<tr><td>${text(figure.group)}: ${text(figure.name)}</td>${cells(figure, { against, short })}</tr>`,
        )
        .join('\n')}</tbody>`,
  )
  const tally = (['goal', 'first', 'missed'] as const).map(
    (each) => `${badge(each)} ${counts[each]}`,
  )
  return `<section id="targets">
<h2>Targets</h2>
<p>${short ? '' : `${tally.join(' &ensp; ')} &ensp; `}${right.length} of ${judged.filter(({ figure }) => isCount(figure)).length} counts are right.</p>
<div class="wide"><table>
<thead><tr><th>figure</th>${headings(against)}</tr></thead>
${bodies.join('\n')}
</table></div>
</section>`
}

const isCount = ({ target }: Figure) => target !== undefined && 'exactly' in target

function section({ name, what, seconds, failure, result }: Outcome, short: boolean): string {
  const charts = (result?.charts ?? []).flatMap((chart) => {
    const drawn = drawChart(result!, chart)
    return drawn === undefined ? [] : [picture(chart.title, drawn)]
  })
  const series = (result?.series ?? []).map((each) => picture(each.name, drawSeries(each)))
  const options = Object.entries(result?.options ?? {}).flatMap(([option, value]) =>
    value === '' || value === false
      ? []
      : [value === true ? `--${option}` : `--${option} ${value}`],
  )
  return `<section id="${text(name)}">
<h2>${text(name)}</h2>
<p>${text(what)}</p>
${failure === undefined ? '' : `<pre class="failure">${text(failure)}</pre>`}
${[...charts, ...series].join('\n')}
${result ? figures(result, short) : ''}
<p class="run"><code>bun run bench ${text([name, ...options].join(' '))}</code> &ensp; ${seconds.toFixed(0)} s</p>
</section>`
}

const picture = (title: string, svg: string) =>
  `<figure><figcaption>${text(title)}</figcaption>${svg}</figure>`

function figures(result: Result, short: boolean): string {
  const groups = Map.groupBy(result.figures, ({ group }) => group)
  const bodies = [...groups].map(
    ([group, own]) =>
      `<tbody><tr class="group"><th colspan="6" scope="rowgroup">${text(group)}</th></tr>${own
        .map(
          (figure) =>
            `<tr><td>${text(figure.name)}</td>${cells(figure, { against: result.against, short })}</tr>`,
        )
        .join('\n')}</tbody>`,
  )
  return `<details${result.charts || result.series ? '' : ' open'}><summary>All ${result.figures.length} figures</summary>
<div class="wide"><table>
<thead><tr><th>figure</th>${headings(result.against)}</tr></thead>
${bodies.join('\n')}
</table></div></details>`
}

const headings = (against: string | undefined) =>
  `<th class="n">measured</th>${against === undefined ? '' : `<th class="n">${text(against)}</th><th class="n">ratio</th>`}<th>target</th><th></th>`

function cells(
  figure: Figure,
  { against, short }: { against: string | undefined; short: boolean },
): string {
  const { value, unit, target, against: other } = figure
  // The times of a short round are not judged.
  const verdict = short && !isCount(figure) ? undefined : verdictOf(figure)
  const compared =
    against === undefined
      ? ''
      : other === undefined
        ? '<td></td><td></td>'
        : `<td class="n">${text(valueText(other, unit))}</td><td class="n">${text(ratio(value, other))}</td>`
  return `<td class="n">${text(valueText(value, unit))}</td>${compared}<td>${target ? text(targetText(target, unit)) : ''}</td><td>${verdict ? badge(verdict) : ''}</td>`
}

/** How often the smaller goes into the larger, as `1/7.2` or `7.2×`. */
function ratio(value: number, other: number): string {
  if (!(value > 0 && other > 0)) return '–'
  return value >= other ? valueText(value / other, '×') : `1/${valueText(other / value, '')}`
}

function badge(verdict: Verdict): string {
  const [mark, words] = marks[verdict]
  return `<span class="badge ${verdict}">${mark} ${words}</span>`
}

const day = (date: Date) => date.toISOString().slice(0, 10)
const clock = (date: Date) => date.toISOString().slice(11, 16)
const text = (value: string) => Bun.escapeHTML(value)

const style = `
:root { color-scheme: light; --ink: #2b3138; --quiet: #6b7785; --line: #e4e7eb; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 960px; padding: 2rem 1.25rem 4rem; color: var(--ink); background: #fff;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { margin: 0; font-size: 1.8rem; letter-spacing: -0.01em; }
h2 { margin: 0 0 .25rem; font-size: 1.2rem; }
.lead { margin: .25rem 0 1.25rem; color: var(--quiet); }
.machine { display: grid; grid-template-columns: repeat(auto-fill, minmax(260px, 1fr)); gap: .6rem 1.5rem; margin: 0;
  padding: 1rem 1.25rem; border: 1px solid var(--line); border-radius: 8px; background: #fafbfc; }
.machine dt { color: var(--quiet); font-size: .8rem; }
.machine dd { margin: 0; }
section { margin-top: 2.5rem; padding-top: 1.5rem; border-top: 1px solid var(--line); }
section > p { margin: .25rem 0 .75rem; }
figure { margin: 1.25rem 0; }
figcaption { margin-bottom: .5rem; font-weight: 600; }
svg { display: block; max-width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td { padding: .32rem .6rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
thead th { color: var(--quiet); font-weight: 500; font-size: .8rem; white-space: nowrap; }
.group th { padding-top: .8rem; font-weight: 600; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.badge { display: inline-block; padding: 0 .5em; border-radius: 999px; font-size: .78rem; font-weight: 600; white-space: nowrap; }
.goal { color: #1f6b2a; background: #e3f3e5; }
.first { color: #8a5200; background: #fdf0d8; }
.missed { color: #a32020; background: #fbe3e2; }
.failure { padding: .75rem 1rem; overflow-x: auto; border-radius: 6px; background: #fbe3e2; font-size: .82rem; }
summary { cursor: pointer; color: var(--quiet); }
.run, footer { color: var(--quiet); font-size: .85rem; }
code { font-size: .92em; overflow-wrap: anywhere; }
a { color: #2f6db3; }
`
