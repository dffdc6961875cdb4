import { discord } from '#importers/discord/discord.ts'
import type { Format, Recognition } from '#importers/format.ts'
import { gitter } from '#importers/gitter/gitter.ts'
import { mattermost } from '#importers/mattermost/mattermost.ts'
import { ndjson } from '#importers/ndjson/ndjson.ts'
import { slack } from '#importers/slack/slack.ts'
import type { Source } from '#importers/source.ts'
import { Stop } from '#importers/stop.ts'
import { zulip } from '#importers/zulip/zulip.ts'

/** All formats; a new one is a line here. */
export const formats: readonly Format[] = [ndjson, gitter, slack, discord, mattermost, zulip]

/** The format of an export, by its name or, for `auto`, as its files look; and why it is believed to be that. */
export async function formatOf(
  source: Source,
  wanted: string,
): Promise<{ format: Format; why: string }> {
  const known = formats.map(({ name }) => name).join(', ')
  if (wanted !== 'auto') {
    const format = formats.find(({ name }) => name === wanted)
    if (!format) throw new Stop(`There is no format ${wanted}; there are ${known}`)
    return { format, why: 'it was said so' }
  }
  const believed: { format: Format; recognition: Recognition }[] = []
  for (const format of formats) {
    const recognition = await format.recognize(source)
    if (recognition) believed.push({ format, recognition })
  }
  believed.sort((one, other) => other.recognition.sure - one.recognition.sure)
  const [first, second] = believed
  if (!first) {
    throw new Stop(
      `${source.path} is in no format that is known (${known}); say which with --format`,
    )
  }
  if (second && second.recognition.sure === first.recognition.sure) {
    const both = [first, second].map(
      ({ format, recognition }) => `${format.title}, as ${recognition.why}`,
    )
    throw new Stop(`${source.path} could be ${both.join(', or ')}; say which with --format`)
  }
  return { format: first.format, why: first.recognition.why }
}
