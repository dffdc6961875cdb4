import type { Figure } from './figures.ts'
import { openBench } from './figures.ts'
import { IsolationStage, type Scenario, scenarios } from './isolation-stage.ts'
import { kinds, type Probed, type ProbeKind } from './probes.ts'
import { quantile } from './stand.ts'
import type { Kind } from './whole-server.ts'

const help = `
What a flood in one room does to everybody else. Meanwhile 50 quiet rooms get one event of another server
a second each, messages go to devices, users log in, local users write to each other, and somebody asks
for the versions: how long each takes from when it was due, idle and beside

  messages     a flood of messages in one room, at 70 % of what was measured to be the most
  members      the same with joins and changes of names, whose state is in conflict
  overload     messages as fast as they are answered, which is more than can be worked off
  resolution   a state resolution of at least --resolution-ms of processor time in another room

  bun run bench federation-isolation [--rounds 5] [--seconds 15] [--only all] [--quiet 50]
    [--origins 8] [--resolution-ms 5000] [--users 1800] [--changes 2500] [--against synapse]

Each round is idle first, then each of the four; ratios are medians of the rounds'. --only names some,
with commas between. Ends with 1 if an event or a message never came, or a request failed.
`

const bench = openBench(
  'federation-isolation',
  help,
  {
    rounds: 5,
    seconds: 15,
    only: 'all',
    quiet: 50,
    origins: 8,
    'capacity-events': 8_000,
    'member-capacity-events': 2_000,
    'resolution-ms': 5_000,
    users: 1_800,
    changes: 2_500,
    version: 11,
    against: '',
    'against-rounds': 1,
  },
  {
    rounds: 1,
    seconds: 5,
    'capacity-events': 1_500,
    'member-capacity-events': 400,
    'resolution-ms': 1_000,
    users: 600,
    changes: 1_000,
  },
)
const { options } = bench

type Bound = { first: number; goal: number }
type Targets = { ratio: Bound; p99?: Bound }

const targets: Record<Scenario, Targets> = {
  messages: { ratio: { first: 1.5, goal: 1.2 }, p99: { first: 50, goal: 25 } },
  members: { ratio: { first: 1.5, goal: 1.2 }, p99: { first: 50, goal: 25 } },
  overload: { ratio: { first: 3, goal: 2 }, p99: { first: 150, goal: 50 } },
  resolution: { ratio: { first: 2, goal: 1.5 } },
}

type Round = { idle: Probed; beside: Map<Scenario, Probed> }
type Run = { rounds: Round[]; facts: Record<string, number>; version: string }

const chosen = scenarios.filter(
  (each) => options.only === 'all' || options.only.split(',').includes(each),
)

async function run(kind: Kind, count: number): Promise<Run> {
  const rounds: Round[] = []
  let facts: Record<string, number> = {}
  let version = ''
  await IsolationStage.open(kind, options, bench.short, async (stage) => {
    ;({ version } = stage)
    const some = chosen.filter((each) => kind === 'laneway' || each !== 'resolution')
    await stage.calibrate(some)
    for (let round = 0; round < count; round++) {
      const idle = await stage.idle()
      const beside = new Map<Scenario, Probed>()
      for (const each of some) beside.set(each, await stage.beside(each))
      rounds.push({ idle, beside })
    }
    ;({ facts } = stage)
  })
  return { rounds, facts, version }
}

const median = (values: readonly number[]) =>
  quantile(
    [...values].sort((a, b) => a - b),
    0.5,
  )

/** The median of the rounds of a quantile; of a scenario, or idle. */
const of = ({ rounds }: Run, scenario: Scenario | undefined, kind: ProbeKind, share: number) =>
  median(rounds.map((round) => quantile(probed(round, scenario).latencies[kind], share)))

const probed = (round: Round, scenario: Scenario | undefined): Probed =>
  scenario === undefined ? round.idle : round.beside.get(scenario)!

const ratio = ({ rounds }: Run, scenario: Scenario, kind: ProbeKind) =>
  median(
    rounds.map(
      ({ idle, beside }) =>
        quantile(beside.get(scenario)!.latencies[kind], 0.99) /
        quantile(idle.latencies[kind], 0.99),
    ),
  )

function figuresOf(ours: Run, theirs: Run | undefined, scenario: Scenario | undefined): Figure[] {
  const other = theirs?.rounds[0]?.beside.has(scenario ?? 'messages') ? theirs : undefined
  const bounds = scenario === undefined ? undefined : targets[scenario]
  const latencies = kinds.flatMap((kind): Figure[] => {
    // What it is to tell from: nobody waits for it.
    const isBound = kind !== 'GET /versions'
    const figure = (name: string, unit: string, value: (run: Run) => number, bound?: Bound) => ({
      name: `${kind}, ${name}`,
      unit,
      value: value(ours),
      ...(bound && isBound && { target: bound }),
      ...(other && { against: value(other) }),
    })
    const told: Figure[] = [
      figure('p50', 'ms', (each) => of(each, scenario, kind, 0.5)),
      figure('p99', 'ms', (each) => of(each, scenario, kind, 0.99), bounds?.p99),
    ]
    if (scenario !== undefined)
      told.push(figure('p99 to idle', '×', (each) => ratio(each, scenario, kind), bounds!.ratio))
    return told
  })
  const count = (what: 'missing' | 'failed') =>
    ours.rounds.reduce((sum, round) => sum + probed(round, scenario)[what], 0)
  return [
    ...latencies,
    { name: 'never came', unit: '', value: count('missing'), target: { exactly: 0 } },
    { name: 'requests that failed', unit: '', value: count('failed'), target: { exactly: 0 } },
  ]
}

if (chosen.length === 0) throw new Error(`--only wants some of ${scenarios.join(', ')}`)
const ours = await run('laneway', options.rounds)
const theirs =
  options.against === '' ? undefined : await run(options.against as Kind, options['against-rounds'])
if (theirs) bench.against = theirs.version
bench.tell(
  'floods',
  Object.entries(ours.facts).map(([name, value]) => {
    const unit = name.endsWith('ms') ? 'ms' : name.includes('429') ? '' : 'PDU/s'
    const against = theirs?.facts[name]
    return { name, value, unit, ...(against !== undefined && { against }) }
  }),
)
bench.tell('idle', figuresOf(ours, theirs, undefined))
for (const each of chosen) bench.tell(`beside ${each}`, figuresOf(ours, theirs, each))
bench.chart(
  'How long the slowest hundredth takes for others, idle and beside a flood',
  ['quiet rooms', 'to-device', 'login', 'local send', 'GET /versions'].map(
    (each) => `${each}, p99`,
  ),
)
bench.finish()
