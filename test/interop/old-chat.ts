import { type Laneway, type Login, ownEnvironment } from '../laneway.ts'
import { patienceMs } from '../until.ts'

const sessions = '/_laneway/import/v1/sessions'
const root = new URL('../..', import.meta.url).pathname

/** Nobody but who is imported is called so. */
export const ghost = (home: Laneway, index: number) => `@_import_p${index}:${home.serverName}`

/** Texts of what is imported: `h0`, `h1`, … */
export const lines = (count: number, name = 'h'): string[] =>
  Array.from({ length: count }, (_, index) => `${name}${index}`)

export type Wish = {
  room_id: string
  mode: string
  position?: object
  source?: string
  count: number
  /** With what the texts begin. */
  name?: string
}

/** Opens an import by the API, and sends all of it; its session. */
export async function stage(
  admin: Login,
  home: Laneway,
  { count, name, ...wish }: Wish,
): Promise<string> {
  const { session_id: id } = await admin.ask<{ session_id: string }>('POST', sessions, {
    source: 'old chat',
    federate: true,
    ...wish,
  })
  const texts = lines(count, name)
  const answer = await admin.ask<{ failed: unknown[] }>('PUT', `${sessions}/${id}/batches/0`, {
    people: [0, 1, 2].map((index) => ({ user_id: ghost(home, index) })),
    records: texts.map((text, index) => ({
      src_id: text,
      type: 'm.room.message',
      sender: ghost(home, index % 3),
      ts: 1_400_000_000_000 + index,
      content: { msgtype: 'm.text', body: text },
    })),
  })
  if (answer.failed.length > 0) throw new Error(JSON.stringify(answer.failed))
  return id
}

export const end = (admin: Login, id: string, how: 'commit' | 'undo'): Promise<unknown> =>
  admin.ask('POST', `${sessions}/${id}/${how}`, {})

/** `bun run import …`, as an administrator calls it; `reader` is who reads, for `verify`. */
export async function importer(
  admin: Login,
  args: readonly string[],
  reader?: Login,
): Promise<{ code: number; told: string }> {
  const child = Bun.spawn([process.execPath, 'importers/main.ts', ...args], {
    cwd: root,
    env: {
      ...ownEnvironment(),
      LANEWAY_TOKEN: admin.token,
      ...(reader && { LANEWAY_READER_TOKEN: reader.token }),
    },
    stdout: 'pipe',
    stderr: 'pipe',
    timeout: patienceMs,
  })
  const [out, errors] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ])
  return { code: await child.exited, told: out + errors }
}
