import { Config } from '#src/config.ts'
import { type Option, type Table, nearest, optionsOf, tableAt } from '#src/config/schema.ts'

export type Environment = Readonly<Record<string, string | undefined>>

/** Variables that begin like options and are none; Kubernetes makes some for a service's name. */
const others = /^LANEWAY_(CONFIG|SPEC|INTEROP_\w+|TEST_\w+|SERVICE_\w+|PORT(_.*)?)$/

const options = new Map<string, Option>()
for (const option of optionsOf(Config)) {
  options.set(nameOf(option.path), option)
  if (option.schema['secret'] === true) {
    const path = [...option.path.slice(0, -1), `${option.path.at(-1)!}_file`]
    options.set(nameOf(path), { path, schema: { ...option.schema, secret: false } })
  }
}

/** `federation.request_timeout_seconds` is LANEWAY_FEDERATION_REQUEST_TIMEOUT_SECONDS. */
function nameOf(path: readonly string[]): string {
  return `LANEWAY_${path.join('_').toUpperCase()}`
}

/** Puts the options of the environment over those of the file, and answers the faults in them. */
export function applyEnvironment(file: Table, env: Environment): string[] {
  const faults: string[] = []
  if (env['DATABASE_URL']) set(file, options.get('LANEWAY_DATABASE_URL')!, env['DATABASE_URL'])
  for (const [name, text] of Object.entries(env)) {
    if (!name.startsWith('LANEWAY_') || others.test(name) || text === undefined) continue
    // A second underscore after the section is allowed, as other programs want it.
    const option = options.get(name.replaceAll('__', '_'))
    if (!option) {
      const near = nearest(name, options.keys())
      faults.push(`${name}: no such option${near ? `; did you mean ${near}?` : ''}`)
      continue
    }
    try {
      set(file, option, valueOf(option, text))
    } catch {
      faults.push(`${name}: not a TOML value: ${text}`)
    }
  }
  return faults
}

function set(file: Table, { path }: Option, value: unknown): void {
  const table = tableAt(file, path.slice(0, -1))
  const key = path.at(-1)!
  if (!table) return
  table[key] = value
  // The environment replaces the file's way of giving a secret, whichever it was.
  delete table[key.endsWith('_file') ? key.slice(0, -'_file'.length) : `${key}_file`]
}

/** Texts stand as they are; lists may be separated by commas; all else is written as in the file. */
function valueOf({ schema }: Option, text: string): unknown {
  if (schema['type'] === 'string' || schema['anyOf']) return text
  const items = schema['items'] as { type?: string } | undefined
  if (items?.type === 'string' && !text.trimStart().startsWith('['))
    return text
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== '')
  return (Bun.TOML.parse(`value = ${text}`) as Table)['value']
}
