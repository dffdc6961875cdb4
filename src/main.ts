import { parseArgs } from 'node:util'
import packageJson from '../package.json' with { type: 'json' }
import { loadConfig, ConfigError } from '#src/config/load.ts'
import { printExample } from '#src/config/example.ts'
import { type LogOptions, defaultLogOptions, openLog, reportFailure } from '#src/log.ts'
import { addUser } from '#src/add-user.ts'
import type { Config } from '#src/config.ts'
import { greet } from '#src/greet.ts'
import { rotateKey } from '#src/rotate-key.ts'
import { startServer } from '#src/server.ts'
import { StartupError } from '#store/startup-error.ts'

/** How long a clean end may take before the process ends anyway. */
const longestStop = 5_000
/** Within this time a second signal is the same one. */
const twice = 1_000

const help = `Laneway ${packageJson.version}, a Matrix homeserver in which every room has its own lane.

Usage
  npx bun run server [--config FILE]            start the server
  npx bun run server config                     print every option with its default, as a file to edit
  npx bun run server user add NAME [--admin]    make an account; reads the password from standard input
  npx bun run server key rotate                 have a new signing key made at the next start
  npx bun run server --help | --version

Options
  -c, --config FILE   the configuration; ./laneway.toml if it is there, else defaults
  --admin             the new account may use the admin API

Examples
  npx bun run server
  npx bun run server config > laneway.toml
  echo 'a long password' | npx bun run server user add alice --admin
  LANEWAY_SERVER_NAME=example.org LANEWAY_LOG_LEVEL=debug npx bun run server
`

/** Where failures are logged: as far as the configuration could be read; those of a command are not. */
let logOptions: LogOptions | undefined = defaultLogOptions

try {
  await run(Bun.argv.slice(2))
} catch (error) {
  reportFailure(error, error instanceof ConfigError ? error.log : logOptions)
  process.exit(1)
}

async function run(argv: string[]): Promise<void> {
  const { values, positionals } = parse(argv)
  const command = positionals.join(' ')
  if (values.help) return print(help)
  if (values.version) return print(`${packageJson.version}\n`)
  if (command === 'config') return print(printExample())
  const isUserAdd =
    positionals[0] === 'user' && positionals[1] === 'add' && positionals.length === 3
  const isKeyRotate = command === 'key rotate'
  if (command !== '' && !isUserAdd && !isKeyRotate)
    throw new StartupError(`There is no command '${command}'. --help lists what there is.`)

  const config = await loadConfig({ file: values.config, env: Bun.env })
  logOptions = config.log
  if (isUserAdd) {
    logOptions = undefined
    return addUser(config, positionals[2]!, { admin: values.admin })
  }
  if (isKeyRotate) {
    logOptions = undefined
    return rotateKey(config)
  }
  await serve(config, values.config)
}

function parse(argv: string[]) {
  try {
    return parseArgs({
      args: argv,
      allowPositionals: true,
      options: {
        config: { type: 'string', short: 'c' },
        admin: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
        version: { type: 'boolean', default: false },
      },
    })
  } catch (error) {
    const [sentence] = (error as Error).message.split(/\.? To specify/)
    throw new StartupError(`${sentence}. --help lists what there is.`)
  }
}

async function serve(config: Config, file: string | undefined): Promise<void> {
  const log = openLog(config.log)
  const maxRequests = Number(Bun.env['BUN_CONFIG_MAX_HTTP_REQUESTS']) || undefined
  const starting = startServer(config, { log, version: packageJson.version, maxRequests })
  let stopping: number | undefined
  // From the first moment on: what is half started is stopped as cleanly as the rest.
  const stop = (signal: string) => {
    const now = performance.now()
    // Who wants it to end at once says so again; the same signal may come twice, from the terminal and
    // from what started us.
    if (stopping !== undefined && now - stopping > twice) process.exit(1)
    if (stopping !== undefined) return
    stopping = now
    log.info(`${signal}: ending`)
    setTimeout(() => {
      log.error(`the end took longer than ${longestStop} ms`)
      process.exit(1)
    }, longestStop)
    starting
      .then((server) => server.stop())
      .then(
        () => {
          log.info('ended')
          process.exit(0)
        },
        (error: unknown) => {
          log.error({ err: error }, 'the end failed')
          process.exit(1)
        },
      )
  }
  process.on('SIGTERM', () => stop('SIGTERM'))
  process.on('SIGINT', () => stop('SIGINT'))
  greet(config, await starting, log, file)
}

function print(text: string): void {
  process.stdout.write(text)
}
