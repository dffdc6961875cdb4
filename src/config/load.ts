import { readFile } from 'node:fs/promises'
import type { TObject, TSchema } from '@sinclair/typebox'
import { Value, type ValueError } from '@sinclair/typebox/value'
import { Config } from '#src/config.ts'
import { checkMeaning } from '#src/config/check.ts'
import { type Environment, applyEnvironment } from '#src/config/environment.ts'
import { type Table, isRecord, isTable, nearest, optionsOf, tableAt } from '#src/config/schema.ts'
import { type LogOptions, defaultLogOptions } from '#src/log.ts'
import { StartupError } from '#store/startup-error.ts'

const usualFile = 'laneway.toml'

/** Every fault of a configuration at once, and where to log them, as far as that could be read. */
export class ConfigError extends StartupError {
  readonly log: LogOptions

  constructor(message: string, log: LogOptions) {
    super(message)
    this.log = log
  }
}

/**
 * Reads the file (`laneway.toml` in the working directory if none is named and it is there), lays
 * the environment over it, fills in defaults and checks everything.
 */
export async function loadConfig(options: {
  file?: string | undefined
  env: Environment
}): Promise<Config> {
  const named = options.file ?? options.env['LANEWAY_CONFIG']
  const name = named ?? usualFile
  const table = await readTable(name, named !== undefined)
  const faults = [...applyEnvironment(table, options.env), ...(await readSecrets(table))]
  const config = Value.Default(Config, table)
  const misfits = [...Value.Errors(Config, config)]
  faults.push(...misfits.map(describe))
  if (misfits.length === 0) faults.push(...(await checkMeaning(config as Config)))
  if (faults.length === 0) return config as Config

  const unique = [...new Set(faults)]
  const count = unique.length === 1 ? 'a fault' : `${unique.length} faults`
  throw new ConfigError(
    `The configuration (${name} and the environment) has ${count}:\n  ${unique.join('\n  ')}`,
    readLogOptions(table),
  )
}

async function readTable(file: string, required: boolean): Promise<Table> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' && !required) return ''
    throw new ConfigError(
      `The configuration ${file} cannot be read: ${error.message}`,
      defaultLogOptions,
    )
  })
  try {
    return Bun.TOML.parse(text) as Table
  } catch (error) {
    const { message, line } = error as { message: string; line?: number }
    const place = line === undefined ? '' : ` in line ${line}`
    throw new ConfigError(
      `The configuration ${file} is not TOML${place}: ${message.replace(/^TOML Parse error: /, '')}`,
      defaultLogOptions,
    )
  }
}

/** Replaces each `…_file` of a secret by what the file holds. */
async function readSecrets(table: Table): Promise<string[]> {
  const secrets = optionsOf(Config).filter(({ schema }) => schema['secret'] === true)
  const faults = await Promise.all(
    secrets.map(async ({ path }): Promise<string[]> => {
      const key = path.at(-1)!
      const name = [...path.slice(0, -1), `${key}_file`].join('.')
      const place = tableAt(table, path.slice(0, -1))
      const file = place?.[`${key}_file`]
      if (!place || file === undefined) return []
      delete place[`${key}_file`]
      if (typeof file !== 'string') return [`${name}: must be a text, not ${show(file)}`]
      if (place[key] !== undefined) return [`${name}: given besides ${path.join('.')}; choose one`]
      try {
        place[key] = (await readFile(file, 'utf8')).trim()
        return []
      } catch {
        return [`${name}: the file ${file} cannot be read`]
      }
    }),
  )
  return faults.flat()
}

function describe(error: ValueError): string {
  const path = error.path.slice(1).split('/').map(unescapePointer)
  const name = path.join('.')
  const { schema, value } = error
  if (error.message.startsWith('Unexpected property')) {
    const known = keysAt(Config, path.slice(0, -1))
    const near = nearest(path.at(-1)!, known)
    return `${name}: no such option${near ? `; did you mean ${near}?` : ''}`
  }
  if (value === undefined) return `${name}: is missing`
  return `${name}: must be ${expectation(schema)}, not ${show(value)}`
}

type Bounds = {
  minimum?: number
  maximum?: number
  minItems?: number
  uniqueItems?: boolean
  minLength?: number
}

function expectation(schema: TSchema): string {
  const choices = schema['anyOf'] as { const: string }[] | undefined
  if (choices) return `one of ${choices.map((choice) => choice.const).join(', ')}`
  const { minimum, maximum, minItems, uniqueItems, minLength } = schema as Bounds
  const bounds = [
    minimum === undefined ? '' : ` from ${minimum}`,
    maximum === undefined ? '' : ` to ${maximum}`,
  ].join('')
  switch (schema['type']) {
    case 'integer':
      return `a whole number${bounds}`
    case 'number':
      return `a number${bounds}`
    case 'boolean':
      return 'true or false'
    case 'array':
      return `a list${minItems ? ' that is not empty' : ''}${uniqueItems ? ', each item once' : ''}`
    case 'object':
      return 'a table'
    default:
      return minLength ? 'a text that is not empty' : 'a text'
  }
}

/** The options of the table at a path, lists included. */
function keysAt(schema: TSchema, path: readonly string[]): string[] {
  let at: TSchema | undefined = schema
  for (const key of path)
    at = isTable(at!) ? (at as TObject).properties[key] : (at!['items'] as TSchema | undefined)
  if (!at || !isTable(at)) return []
  return Object.entries(at.properties).flatMap(([key, child]) =>
    child['secret'] === true ? [key, `${key}_file`] : [key],
  )
}

const unescapePointer = (text: string) => text.replaceAll('~1', '/').replaceAll('~0', '~')

const show = (value: unknown) => {
  const text = JSON.stringify(value)
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}

/** The log of a broken configuration: each option that is fine by itself counts. */
function readLogOptions(table: Table): LogOptions {
  const given = isRecord(table['log']) ? table['log'] : {}
  const fitting = Object.entries(given).filter(([key, value]) => {
    const schema = Config.properties.log.properties[key as keyof LogOptions] as TSchema | undefined
    return schema && Value.Check(schema, value)
  })
  return { ...defaultLogOptions, ...(Object.fromEntries(fitting) as Partial<LogOptions>) }
}
