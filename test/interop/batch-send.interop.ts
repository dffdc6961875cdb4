import { afterAll, beforeAll, expect, test } from 'bun:test'
import { rm } from 'node:fs/promises'
import { makeCertificates } from '../certificates.ts'
import { Laneway, freePorts, registerBySecret } from '../laneway.ts'
import { until } from '../until.ts'
import { openFolder } from './folder.ts'
import { HistoryStory, type Server, type Told } from './history-story.ts'
import { pourHistory, registration } from './pour-history.ts'
import { Synapse } from './synapse.ts'
import { lastWithHistory, synapseVenv } from './venv.ts'

/**
 * MSC2716 on Laneway and on the last Synapse that had it: the same script runs on both, and what differs is
 * listed with its reason. Then each reads what was put in on the other.
 */
const differences: Record<string, string> = {
  'order behind the newest event':
    'There Synapse takes the depth of that event itself, so that history reads before it.',
  'a request that is repeated': 'Synapse puts the same batch in once more.',
  'the name of a speaker on a page': 'Synapse tells of one event only, and only who asks for it.',
  'joins that are read': 'Synapse shows those of a batch at the very beginning of the room.',
  'an empty batch': 'A fault of Synapse, which answers 500.',
  'state without state_key': 'Likewise.',
  'an event without time': 'Likewise.',
  'somebody who is not the creator':
    'Synapse puts the batch in, and then knows nothing of its next_batch_id.',
  'PUT, as it was in 1.37': 'Synapse dropped it and the old names.',
  'the path that was to be stable': 'Synapse never had it.',
  'v3: a room': 'Synapse dropped each unstable room version with the next.',
}

let directory: string
let laneway: Laneway
let synapse: Synapse
let ours: HistoryStory, theirs: HistoryStory

beforeAll(async () => {
  directory = await openFolder('history')
  const certificates = await makeCertificates(`${directory}/certificates`)
  const [lanewayTls, lanewayClient, synapseTls, synapseClient] = await freePorts(4)
  const importer = `${directory}/importer.yaml`
  await Bun.write(importer, JSON.stringify(registration))
  laneway = await Laneway.prepare(`${directory}/laneway`, {
    ports: { tls: lanewayTls!, client: lanewayClient! },
    certificates,
    appservices: [importer],
    history: true,
  })
  synapse = await Synapse.prepare(
    `${directory}/synapse`,
    await synapseVenv(lastWithHistory),
    { tls: synapseTls!, client: synapseClient! },
    certificates,
    {
      app_service_config_files: [importer],
      experimental_features: { msc2716_enabled: true },
    },
  )
  await Promise.all([laneway.start(), synapse.start()])
  const server = async (url: string, name: string): Promise<Server> => {
    const { userId, token } = await registerBySecret(url, 'interop', 'alice', false)
    return { url, name, asToken: registration.as_token, alice: { userId, token } }
  }
  ours = new HistoryStory(await server(laneway.clientUrl, laneway.serverName))
  theirs = new HistoryStory(await server(synapse.clientUrl, synapse.serverName))
  for (const story of [ours, theirs]) await story.ghosts('maria', 'ricky')
})

afterAll(async () => {
  await Promise.all([laneway?.stop(), synapse?.stop()])
  if (process.env['LANEWAY_INTEROP_KEEP']) console.log(`kept: ${directory}`)
  else await rm(directory, { recursive: true, force: true })
})

test(`what comes of it is as on Synapse ${lastWithHistory}, but for what is listed`, async () => {
  const [here, there] = await Promise.all([ours.tell(), theirs.tell()])
  const differing: Told = {}
  for (const what of new Set([...Object.keys(here), ...Object.keys(there)]))
    if (!Bun.deepEquals(here[what], there[what]))
      differing[what] = { laneway: here[what], synapse: there[what] }
  if (process.env['LANEWAY_INTEROP_TELL']) console.log(Bun.inspect(differing, { depth: 9 }))
  expect(Object.keys(differing).sort()).toEqual(Object.keys(differences).sort())
})

/** History that was put in on one server, as a user of the other reads it. */
async function across(host: HistoryStory, guest: HistoryStory): Promise<string[]> {
  const { roomId, ids } = await host.talk(['a', 'b'])
  const room = encodeURIComponent(roomId)
  const via = host.bot.slice(host.bot.indexOf(':') + 1)
  await guest.alice('POST', `/_matrix/client/v3/join/${room}?server_name=${via}`, {})
  await until(async () => (await guest.texts(roomId, 'b')).includes('b'))
  const newer = await host.batch(roomId, ids[0]!, ['h3', 'h4'])
  await host.batch(roomId, ids[0]!, ['h1', 'h2'], newer.next_batch_id)
  const marker = `/_matrix/client/v3/rooms/${room}/state/org.matrix.msc2716.marker/1`
  await host.as('PUT', marker, { insertion_event_reference: newer.base_insertion_event_id })
  await host.say(roomId, 'c')
  let texts: string[] = []
  await until(async () => {
    texts = await guest.texts(roomId, 'b')
    return texts.length === 7
  })
  return texts
}

test('what is put in on Synapse is read on Laneway, in order', async () => {
  expect(await across(theirs, ours)).toEqual(['a', 'h1', 'h2', 'h3', 'h4', 'b', 'c'])
})

test('what is put in on Laneway is read on Synapse', async () => {
  const texts = await across(ours, theirs)
  // On a server that orders by depth and arrival no order is certain.
  expect(texts.toSorted()).toEqual(['a', 'b', 'c', 'h1', 'h2', 'h3', 'h4'])
})

test('many batches are read in order on both', async () => {
  for (const story of [ours, theirs])
    expect(await pourHistory(story, 200)).toEqual({ seconds: expect.any(Number), isInOrder: true })
})
