import { requestRotation } from '#engine/federation/own-keys.ts'
import { openForCommand } from '#src/command-database.ts'
import type { Config } from '#src/config.ts'

/**
 * `key rotate`: the next start makes a new signing key. A running server goes on with the one that it
 * has, since an event that is signed after the end of a key counts for nothing elsewhere.
 */
export async function rotateKey(config: Config): Promise<void> {
  await using database = await openForCommand(config, 'key-rotate')
  const present = await requestRotation(database.sql)
  process.stdout.write(
    present === undefined
      ? 'There is no signing key yet: the first start makes one\n'
      : `The next start makes a new signing key. Until then ${present} signs; what it signed stays good\n`,
  )
}
