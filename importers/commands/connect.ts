import { Refused, Server } from '#importers/server/client.ts'
import { ImportApi } from '#importers/server/import-api.ts'
import { Stop } from '#importers/stop.ts'
import type { Console } from './console.ts'

export type Credentials = { token: string | undefined; tokenFile: string | undefined }

/** The token of `--token-file`, or of the environment. */
export async function tokenOf({ token, tokenFile }: Credentials): Promise<string> {
  if (tokenFile !== undefined) {
    const file = Bun.file(tokenFile)
    if (!(await file.exists())) throw new Stop(`There is no file ${tokenFile}`)
    return (await file.text()).trim()
  }
  if (token) return token
  throw new Stop(
    'An access token of an administrator or an application service is needed: in LANEWAY_TOKEN, or with --token-file',
  )
}

export type Connection = { server: Server; api: ImportApi; userId: string }

/** A server that lets this token import; found out before anything is read. */
export async function connect(
  url: string,
  credentials: Credentials,
  console: Console,
): Promise<Connection> {
  const token = await tokenOf(credentials)
  if (!/^https?:$/.test(URL.parse(url)?.protocol ?? ''))
    throw new Stop(`${url} is no address of a server: it is to be as http://127.0.0.1:8008`)
  const server = new Server(url, token, console.stop)
  const api = new ImportApi(server)
  let waits = 0
  server.onWait = (why) => {
    // A moment's silence is nothing to tell of; a long one is told now and then.
    if (++waits % 8 === 3) console.warn(`Waiting for ${server.url} (${why})`)
  }
  try {
    const who = await server.get('/_matrix/client/v3/account/whoami')
    await api.sessions({})
    return { server, api, userId: (who as { user_id: string }).user_id }
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    if (error.status === 401)
      throw new Stop(
        `${url} does not know the token (${error.message}): log in again, or look at LANEWAY_TOKEN`,
      )
    if (error.status === 403)
      throw new Stop(
        `The token may not import into ${url}: ${error.message}. It is to be that of an administrator or of an application service`,
      )
    if (error.status === 404)
      throw new Stop(
        `${url} has no import API: is it a Laneway, and not a proxy that hides /_laneway? (${error.message})`,
      )
    throw error
  }
}

/** The most that an upload may weigh. */
export async function largestUpload(server: Server): Promise<number> {
  const answer = (await server.get('/_matrix/client/v1/media/config')) as {
    'm.upload.size'?: number
  }
  return answer['m.upload.size'] ?? 50 * 1024 * 1024
}
