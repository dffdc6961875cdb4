import { AccessTokens } from '#engine/user/access-tokens.ts'
import { Accounts } from '#engine/user/accounts.ts'
import { UserShards } from '#engine/user/owner.ts'
import { openForCommand } from '#src/command-database.ts'
import type { Config } from '#src/config.ts'
import { loadAppservices } from '#src/config/appservices.ts'
import { MatrixError } from '#core/error.ts'
import { StartupError } from '#store/startup-error.ts'

/**
 * `user add`: makes an account in the configured database, whether the server runs or not. A running
 * server finds the account at its first look.
 */
export async function addUser(
  config: Config,
  name: string,
  { admin }: { admin: boolean },
): Promise<void> {
  const appservices = await loadAppservices(config)
  const password = await readPassword(name)
  await using database = await openForCommand(config, 'user-add')
  const { sql } = database
  const users = new UserShards(sql, { onCommit: () => {} })
  const accounts = new Accounts({
    sql,
    users,
    tokens: new AccessTokens(sql),
    appservices,
    serverName: config.server_name,
    clock: Date.now,
    cost: { memoryKib: config.passwords.memory_kib, iterations: config.passwords.iterations },
  })
  try {
    const userId = await accounts.register({ name, password, admin })
    process.stdout.write(`Made ${admin ? 'the administrator' : 'the account'} ${userId}\n`)
  } catch (error) {
    if (error instanceof MatrixError) throw new StartupError(`${name}: ${error.message}`)
    throw error
  } finally {
    await users.close()
  }
}

/** From a terminal, asked for without showing it; else the first line of standard input. */
async function readPassword(name: string): Promise<string> {
  const { stdin, stdout } = process
  if (stdin.isTTY) {
    stdout.write(`Password for ${name}: `)
    stdin.setRawMode(true)
  }
  try {
    let text = ''
    for await (const chunk of stdin) {
      for (const char of String(chunk)) {
        if (char === '\n' || char === '\r') return given(text)
        // Control-C and Control-D.
        if (char === '\u0003' || char === '\u0004') throw new StartupError('No password was given')
        text = char === '\u007f' ? text.slice(0, -1) : text + char
      }
    }
    return given(text)
  } finally {
    if (stdin.isTTY) {
      stdin.setRawMode(false)
      stdout.write('\n')
    }
  }
}

function given(password: string): string {
  if (password === '') throw new StartupError('No password was given: write it to standard input')
  return password
}
