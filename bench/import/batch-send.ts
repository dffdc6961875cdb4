import { join } from 'node:path'
import { HistoryStory } from '#test/interop/history-story.ts'
import { pourHistory, registration } from '#test/interop/pour-history.ts'
import { lastWithHistory } from '#test/interop/venv.ts'
import type { Figure } from '#bench/figures.ts'
import { type WholeServer, withServers } from '#bench/whole-server.ts'

export type Poured = { seconds: number; isInOrder: boolean; spent: readonly [number, number] }

/** MSC2716: so many messages in batches of 100 between two others, of ours and of the last Synapse that had it. */
export async function batchSend(
  messages: number,
  { against, folder, quick }: { against: string; folder: string; quick: boolean },
): Promise<{ figures: Figure[]; against?: string }> {
  const file = join(folder, 'importer.yaml')
  await Bun.write(file, JSON.stringify(registration))
  const laneway = { history: true, appservices: [file] }
  const config = {
    app_service_config_files: [file],
    experimental_features: { msc2716_enabled: true },
  }
  const synapse = { release: lastWithHistory, config }
  let told: { figures: Figure[]; against?: string } | undefined
  await withServers({ against, quick, laneway, synapse }, async (own, other) => {
    const ours = await pour(own, messages)
    const theirs = other && (await pour(other, messages))
    const figure = (name: string, unit: string, valueOf: (poured: Poured) => number): Figure => ({
      name,
      unit,
      value: valueOf(ours),
      ...(theirs && { against: valueOf(theirs) }),
    })
    const inAll = figure('in another order', '', ({ isInOrder }) => +!isInOrder)
    told = {
      figures: [
        figure('rate', 'messages/s', ({ seconds }) => messages / seconds),
        figure('CPU server', 'µs', ({ spent }) => spent[0] / messages),
        figure('CPU PostgreSQL', 'µs', ({ spent }) => spent[1] / messages),
        { ...inAll, target: { exactly: 0 } },
      ],
      ...(other && { against: other.version }),
    }
  })
  return told!
}

async function pour(server: WholeServer, messages: number): Promise<Poured> {
  const { userId, token } = await server.register('alice')
  const { url, serverName: name } = server
  const alice = { userId, token }
  const story = new HistoryStory({ url, name, asToken: registration.as_token, alice })
  await story.ghosts('maria', 'ricky')
  let poured: { seconds: number; isInOrder: boolean } | undefined
  // With what is read at the end, which is little.
  const spent = await server.costOf(async () => (poured = await pourHistory(story, messages)))
  return { ...poured!, spent }
}
