import * as echarts from 'echarts'
import type { EChartsOption } from 'echarts'
import { type Chart, type Figure, type Result, type Series, valueText } from '#bench/figures.ts'

const width = 880
/** Apart for those who do not see colours alike, too. */
const colours = ['#2f6db3', '#e08a2e', '#4d9f6b', '#8a5fb0', '#b5524f', '#6b7785']
const ink = '#2b3138'
const quiet = '#6b7785'
const grid = '#e4e7eb'
const font = 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif'

// Without a browser nothing knows how wide letters are: rather too wide than cut off.
echarts.setPlatformAPI({
  measureText: (text, style) => ({
    width: text.length * 0.6 * Number(/([\d.]+)px/.exec(style ?? '')?.[1] ?? 12),
  }),
})

type Row = { label: string; figures: Map<string, Figure>; other?: true }

/** Draws figures as horizontal bars; undefined if the result has none of them. */
export function drawChart(result: Result, chart: Chart): string | undefined {
  const { rows, names } = tableOf(result, chart)
  const [unit] = valuesOf(rows).map((each) => each.unit)
  if (names.length === 0 || unit === undefined) return undefined
  const values = valuesOf(rows).map(({ value }) => value)
  const [largest, smallest] = [Math.max(...values), Math.min(...values)]
  // Where one bar would hide all others.
  const logarithmic = !chart.stacked && smallest > 0 && largest / smallest > 50
  const bar = chart.stacked ? 22 : 12
  const rowHeight = chart.stacked ? 34 : names.length * (bar + 3) + 14
  const bounds = boundsOf(rows, unit)
  const height =
    rows.length * rowHeight + (bounds.length > 0 ? 70 : 58) + (names.length > 1 ? 26 : 0)
  return render(height, {
    legend: { show: names.length > 1, ...legend },
    grid: { left: 12, right: 70, top: names.length > 1 ? 36 : 10, bottom: 34, containLabel: true },
    xAxis: {
      type: logarithmic ? 'log' : 'value',
      name: logarithmic ? `${axisUnit(unit)}, logarithmic` : axisUnit(unit),
      ...(logarithmic && { min: 10 ** Math.floor(Math.log10(smallest * 0.8)) }),
      ...valueAxis('middle', 26),
    },
    yAxis: {
      type: 'category',
      inverse: true,
      data: rows.map(({ label }) => label),
      axisLine: { lineStyle: { color: quiet } },
      axisTick: { show: false },
      axisLabel: {
        color: ink,
        fontFamily: font,
        fontSize: 12,
        lineHeight: 14,
        width: 340,
        overflow: 'break',
      },
    },
    series: names.map((name, index) => ({
      type: 'bar',
      name,
      barWidth: bar,
      barGap: '25%',
      ...(chart.stacked && { stack: 'all' }),
      itemStyle: { color: colours[index % colours.length]! },
      data: rows.map(({ figures, other }) => ({
        value: figures.get(name)?.value ?? '-',
        ...(other && { itemStyle: { opacity: 0.45 } }),
        label: barLabel(chart, names, index, figures, unit),
      })),
      ...(index === 0 && bounds.length > 0 && { markLine: markLines(bounds, unit) }),
    })),
  })
}

/** What stands at the end of a bar: its value; of a stack, the sum. */
function barLabel(
  chart: Chart,
  names: readonly string[],
  index: number,
  figures: ReadonlyMap<string, Figure>,
  unit: string,
) {
  const last = !chart.stacked || index === names.length - 1
  const value = chart.stacked
    ? names.reduce((sum, name) => sum + (figures.get(name)?.value ?? 0), 0)
    : figures.get(names[index]!)?.value
  return {
    show: last && value !== undefined,
    position: 'right' as const,
    formatter: valueText(value ?? NaN, unit),
    color: ink,
    fontFamily: font,
    fontSize: 11,
  }
}

const valuesOf = (rows: readonly Row[]) => rows.flatMap(({ figures }) => [...figures.values()])

/** The rows of a chart, and the figures that each may have; of one group each figure is a row. */
function tableOf(result: Result, chart: Chart): { rows: Row[]; names: string[] } {
  const rows = inMilliseconds(rowsOf(result, chart))
  const names = chart.figures.filter((name) => rows.some(({ figures }) => figures.has(name)))
  const [only] = rows
  if (rows.length !== 1 || chart.stacked || only === undefined) return { rows, names }
  const turned = names.map((name) => ({
    label: name,
    figures: new Map([[only.label, only.figures.get(name)!]]),
  }))
  return { rows: turned, names: [only.label] }
}

/** Many microseconds are hard to read. */
function inMilliseconds(rows: Row[]): Row[] {
  const values = valuesOf(rows)
  if (!values.every(({ unit }) => unit === 'µs')) return rows
  if (!values.some(({ value }) => value >= 10_000)) return rows
  return rows.map(({ figures, ...row }) => ({
    ...row,
    figures: new Map(
      Array.from(figures, ([name, { value }]) => [name, { name, value: value / 1000, unit: 'ms' }]),
    ),
  }))
}

function rowsOf(result: Result, { figures: names, groups }: Chart): Row[] {
  const wanted = groups ?? [...new Set(result.figures.map(({ group }) => group))]
  return wanted.flatMap((group) => {
    const own = result.figures.filter((each) => each.group === group && names.includes(each.name))
    const row = { label: group, figures: new Map(own.map((each) => [each.name, each])) }
    const others = own.filter(({ against }) => against !== undefined)
    if (others.length === 0) return own.length === 0 ? [] : [row]
    const label = `${group} (${result.against ?? 'the other'})`
    const figures = new Map(others.map((each) => [each.name, { ...each, value: each.against! }]))
    return [row, { label, figures, other: true as const }]
  })
}

/** Targets, if all rows have the same. */
function boundsOf(rows: readonly Row[], unit: string): [name: string, value: number][] {
  const own = rows.filter(({ other }) => !other)
  const targets = own.flatMap(({ figures }) =>
    [...figures.values()].flatMap(({ target }) => (target && 'goal' in target ? [target] : [])),
  )
  const texts = new Set(targets.map((target) => JSON.stringify(target)))
  const [target] = targets
  if (texts.size !== 1 || target === undefined || targets.length < own.length) return []
  const told = (name: string, value: number): [string, number] => [
    `${name} ${target.more ? '≥' : '≤'} ${valueText(value, unit)}`,
    value,
  ]
  return target.first === target.goal
    ? [told('target', target.goal)]
    : [told('first', target.first), told('goal', target.goal)]
}

const markLines = (bounds: [name: string, value: number][], _unit: string) => ({
  symbol: 'none',
  silent: true,
  data: bounds.map(([name, value], index) => ({
    name,
    xAxis: value,
    lineStyle: { color: index === 0 ? '#b26a00' : '#2e7d32', type: 'dashed' as const, width: 1.5 },
    label: {
      formatter: name,
      position: 'start' as const,
      distance: [0, index * 12 - 2],
      color: index === 0 ? '#b26a00' : '#2e7d32',
      fontFamily: font,
      fontSize: 10,
    },
  })),
})

/** Draws lines, such as memory over time. */
export function drawSeries({ x, y, lines }: Series): string {
  return render(300, {
    legend: { show: lines.length > 1, ...legend },
    grid: { left: 16, right: 30, top: lines.length > 1 ? 52 : 34, bottom: 36, containLabel: true },
    xAxis: { type: 'value', name: axisText(x), ...valueAxis('middle', 28) },
    yAxis: { type: 'value', name: axisText(y), min: 0, ...valueAxis('end', 12) },
    series: lines.map(({ name, points }, index) => ({
      type: 'line',
      name,
      showSymbol: points.length < 15,
      lineStyle: { width: 2 },
      itemStyle: { color: colours[index % colours.length]! },
      data: points,
    })),
  })
}

const axisText = ({ name, unit }: { name: string; unit: string }) =>
  unit === '' ? name : `${name}, ${axisUnit(unit)}`

const axisUnit = (unit: string) => (unit === '×' ? 'times' : unit)

const legend = {
  top: 0,
  left: 0,
  itemWidth: 14,
  itemHeight: 10,
  textStyle: { color: ink, fontFamily: font, fontSize: 12 },
}

const valueAxis = (nameLocation: 'middle' | 'end', nameGap: number) => ({
  nameLocation,
  nameGap,
  nameTextStyle: {
    color: quiet,
    fontFamily: font,
    fontSize: 12,
    ...(nameLocation === 'end' && { align: 'left' as const }),
  },
  axisLine: { show: false },
  axisTick: { show: false },
  axisLabel: {
    color: quiet,
    fontFamily: font,
    fontSize: 11,
    hideOverlap: true,
    formatter: (value: number) => value.toLocaleString('en'),
  },
  splitLine: { lineStyle: { color: grid } },
})

function render(height: number, option: EChartsOption): string {
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width, height })
  try {
    chart.setOption({ animation: false, ...option })
    return chart.renderToSVGString()
  } finally {
    chart.dispose()
  }
}
