import type { TObject, TSchema } from '@sinclair/typebox'
import { Config } from '#src/config.ts'
import { isTable } from '#src/config/schema.ts'

const width = 100

/** The documented file: every option with its default, or an example, commented out. */
export function printExample(): string {
  const lines = [
    ...comment(
      'The configuration of Laneway. Everything here is optional: what is commented out shows the default, or an example where there is none. In the environment, an option is LANEWAY_ and its section and name: LANEWAY_SERVER_NAME, LANEWAY_LOG_LEVEL. An option that holds a secret can be given as a file that contains it, by adding _file to its name.',
    ),
    '',
  ]
  const entries = Object.entries(Config.properties) as [string, TSchema][]
  for (const [key, schema] of entries)
    if (!isTable(schema) && !isTableList(schema)) lines.push(...option(key, schema), '')
  for (const [key, schema] of entries) {
    if (isTable(schema)) lines.push(...table(`[${key}]`, schema))
    else if (isTableList(schema)) lines.push(...listTable(key, schema))
  }
  return lines.join('\n')
}

const isTableList = (schema: TSchema): boolean =>
  schema['type'] === 'array' && isTable(schema['items'] as TSchema)

function table(header: string, schema: TObject): string[] {
  const lines = [...comment(schema.description ?? ''), header, '']
  for (const [key, child] of Object.entries(schema.properties))
    lines.push(...option(key, child), '')
  return lines
}

/** A list of tables, whose one default entry is shown. */
function listTable(key: string, schema: TSchema): string[] {
  const { properties } = schema['items'] as TObject
  const lines = [...comment(schema.description ?? ''), `# [[${key}]]`]
  for (const [name, child] of Object.entries(properties)) lines.push(...option(name, child))
  return [...lines, '']
}

function option(key: string, schema: TSchema): string[] {
  const shown: unknown = schema.default ?? schema.examples?.[0]
  const value = isTable(schema) && schema.default !== undefined ? defaultsOf(schema) : shown
  const isExample = schema.default === undefined
  const description = `${schema.description ?? ''}${isExample ? ' For example:' : ''}`
  const empty = Array.isArray(schema.default) && schema.default.length === 0
  const example = empty && schema.examples ? ` For example: ${toToml(schema.examples[0])}` : ''
  const choices = schema['anyOf'] as { const: string }[] | undefined
  const list = choices ? ` One of ${choices.map((choice) => choice.const).join(', ')}.` : ''
  return [...comment(`${description}${example}${list}`.trim()), `# ${key} = ${toToml(value)}`]
}

const defaultsOf = (schema: TObject): Record<string, unknown> =>
  Object.fromEntries(Object.entries(schema.properties).map(([key, child]) => [key, child.default]))

/** A value as TOML, in one line. */
export function toToml(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(toToml).join(', ')}]`
  if (typeof value === 'object' && value !== null) {
    const pairs = Object.entries(value).map(([key, child]) => `${toKey(key)} = ${toToml(child)}`)
    return pairs.length === 0 ? '{}' : `{ ${pairs.join(', ')} }`
  }
  return JSON.stringify(value)
}

const toKey = (key: string) => (/^[\w-]+$/.test(key) ? key : JSON.stringify(key))

/** Prose as comment lines. */
function comment(text: string): string[] {
  const lines: string[] = []
  let line = '#'
  for (const word of text.split(' ').filter((each) => each !== '')) {
    if (line.length + word.length + 1 > width) {
      lines.push(line)
      line = '#'
    }
    line += ` ${word}`
  }
  return line === '#' ? lines : [...lines, line]
}
