import packageJson from '../package.json' with { type: 'json' }
import type { Config } from '#src/config.ts'
import type { Log } from '#src/log.ts'
import type { Server } from '#src/server.ts'

/** Says where the server listens, and how to make the first account if there can be none yet. */
export function greet(
  config: Config,
  { listening, isNew }: Pick<Server, 'listening' | 'isNew'>,
  log: Log,
  configFile: string | undefined,
): void {
  const urls = listening.map(
    ({ address, port, tls }) =>
      `http${tls ? 's' : ''}://${address.includes(':') ? `[${address}]` : address}:${port}`,
  )
  const fields = { version: packageJson.version, server_name: config.server_name, listening: urls }
  const lines = [`listening on ${urls.join(', ')}`]
  if (isNew) {
    const option = configFile === undefined ? '' : ` --config ${configFile}`
    lines.push(
      `This server is new. Registration is ${config.registration.enabled ? 'open' : 'closed'}. ` +
        `Make the first account, an administrator: npx bun run server user add NAME --admin${option}`,
    )
  }
  for (const [index, line] of lines.entries()) log.info(index === 0 ? fields : {}, line)
  // Whoever starts it in a terminal sees it, wherever the log goes.
  if (config.log.file !== undefined) process.stdout.write(`${lines.join('\n')}\n`)
}
