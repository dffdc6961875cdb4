import { parseArgs } from 'node:util'
import { type RoomVersion, stableVersions } from '#core/room-version.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { compareCase, judge, questionOf, type Difference, type Trial } from './compare.ts'
import { generateRoom, type EventCase, type GeneratedRoom } from './generate.ts'
import { restartNames } from './make-event.ts'
import { mutate } from './mutate.ts'
import { departures, type Departure } from './departures.ts'
import { Oracle, requireSynapse, type Answer, type CaseAnswer } from './oracle.ts'
import { Random } from './random.ts'

/**
 * Resolves random rooms, and judges random events, in Laneway and in Synapse's own code.
 *
 * `--rooms` and `--events` say how many, `--seed` which, `--only` runs one room again.
 */
const { values } = parseArgs({
  options: {
    rooms: { type: 'string', default: '10000' },
    events: { type: 'string', default: '10000' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string' },
  },
})
const rooms = Number(values.rooms)
const casesPerRoom = Math.ceil(Number(values.events) / rooms)
const seed = Number(values.seed)
const versions = [...stableVersions.values()]
const batchSize = 50

const foreignRooms = new Map<RoomVersion, ReadonlyMap<string, RoomEvent>>()
for (const version of versions) {
  const { graph } = generateRoom(version, new Random(0), 3, 'foreign')
  foreignRooms.set(version, graph.events)
}

function makeTrial(index: number): Trial {
  restartNames()
  const random = new Random(seed * 1_000_003 + index)
  const version = versions[index % versions.length]!
  const room = generateRoom(version, random, 8 + random.below(30))
  const foreign = foreignRooms.get(version)!
  const cases = Array.from({ length: casesPerRoom }, () => makeCase(room, random, foreign))
  return { room, cases, foreign }
}

function makeCase(
  { graph, cases }: GeneratedRoom,
  random: Random,
  foreign: ReadonlyMap<string, RoomEvent>,
): EventCase {
  const { create, events, rejected } = graph
  const ofCreate = { event: create, known: events, rejected, state: new Map<string, string>() }
  const test = random.chance(0.05) ? ofCreate : random.pick(cases)
  return random.chance(0.6) ? mutate(test, random, [...foreign.keys()]) : test
}

const tally = { rooms: 0, conflicts: 0, events: 0, allowed: 0, failed: 0 }
const departed = new Map<Departure, number>()
const shown = 10

function report(index: number, version: string, difference: Difference): void {
  if (++tally.failed > shown) return
  console.log(`room ${index} (version ${version}): ${difference.point}`)
  console.log(`  Laneway: ${difference.ours}\n  Synapse: ${difference.synapse}`)
}

/** Counts a difference that is known; false if it is not. */
function isKnown(explains: (departure: Departure) => boolean | undefined): boolean {
  const known = departures.find(explains)
  if (known !== undefined) departed.set(known, (departed.get(known) ?? 0) + 1)
  return known !== undefined
}

function checkRoom(index: number, trial: Trial, { resolved }: Answer): void {
  const { graph, states, version } = trial.room
  tally.rooms++
  if (hasConflict(states)) tally.conflicts++
  const ours = new Set(graph.resolve(states).values())
  const theirs = new Set(typeof resolved === 'string' ? [] : resolved)
  const differing = [...ours.symmetricDifference(theirs)].map((id) => graph.events.get(id)!)
  if (typeof resolved !== 'string') {
    if (differing.length === 0) return
    if (isKnown((departure) => departure.explainsRoom?.(trial, differing))) return
  }
  const synapse = typeof resolved === 'string' ? resolved : resolved.join(' ')
  const difference = { point: 'resolved state', ours: [...ours].sort().join(' '), synapse }
  report(index, version.id, difference)
}

const hasConflict = (states: GeneratedRoom['states']) =>
  new Set(states.map((state) => [...state.values()].sort().join(' '))).size > 1

function checkCase(index: number, { room, foreign }: Trial, test: EventCase, answer: CaseAnswer) {
  const ours = judge(test, foreign)
  tally.events++
  if (ours.independent.allowed && ours.byState.allowed) tally.allowed++
  const unknown = compareCase(test, ours, answer).filter(
    (difference) => !isKnown((departure) => departure.explainsCase?.(test, difference)),
  )
  const [first] = unknown
  if (first === undefined) return
  const point = `${unknown.map(({ point }) => point).join(', ')} of ${JSON.stringify(test.event.pdu)}`
  report(index, room.version.id, { ...first, point })
}

function check(index: number, trial: Trial, answer: Answer): void {
  checkRoom(index, trial, answer)
  for (const [at, test] of trial.cases.entries()) checkCase(index, trial, test, answer.cases[at]!)
}

const python = requireSynapse()
const indices = values.only === undefined ? [...Array(rooms).keys()] : [Number(values.only)]

/** Takes batches until none is left; while one process thinks, the other's rooms are made. */
async function work(): Promise<void> {
  await using oracle = new Oracle(python)
  while (indices.length > 0) {
    const batch = indices.splice(0, batchSize)
    const trials = batch.map((index) => makeTrial(index))
    const answers = await oracle.ask(trials.map(questionOf))
    for (const [at, index] of batch.entries()) check(index, trials[at]!, answers[at]!)
  }
}

const started = performance.now()
await Promise.all([work(), work()])
const seconds = Math.round((performance.now() - started) / 1000)
console.log(
  `${tally.rooms} rooms (${tally.conflicts} with conflicts), ${tally.events} events ` +
    `(${tally.allowed} allowed), seed ${seed}, ${seconds} s`,
)
for (const departure of departures)
  console.log(`${departed.get(departure) ?? 0} × ${departure.name}: ${departure.reason}`)
console.log(`${tally.rooms + tally.events - tally.failed} passed, ${tally.failed} failed`)
if (tally.failed > 0) process.exitCode = 1
