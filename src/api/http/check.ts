import { Kind, type TObject, type TSchema } from '@sinclair/typebox'
import { TypeCompiler, type ValueError } from '@sinclair/typebox/compiler'
import { type MatrixError, badJson, invalidParam, missingParam } from '#core/error.ts'

/** Checks a value against a schema that is compiled when first needed. */
export function checker(schema: TSchema): (value: unknown) => ValueError | undefined {
  let compiled: ReturnType<typeof TypeCompiler.Compile> | undefined
  return (value) => {
    compiled ??= TypeCompiler.Compile(schema)
    return compiled.Check(value) ? undefined : compiled.Errors(value).First()
  }
}

export function bodyFault({ path, message }: ValueError): MatrixError {
  return badJson(path === '' ? `The body: ${message}` : `${path.slice(1)}: ${message}`)
}

export function paramFault({ path, message, value }: ValueError): MatrixError {
  const name = path.slice(1)
  return value === undefined
    ? missingParam(`'${name}' is missing`)
    : invalidParam(`'${name}': ${message}`)
}

type Reader = (texts: string[]) => unknown

/** How a query is read into the object that its schema describes: the first of equal names counts. */
export function queryReader(schema: TSchema): (query: URLSearchParams) => Record<string, unknown> {
  const readers = Object.entries((schema as TObject).properties).map(
    ([name, property]) => [name, readerOf(property)] as const,
  )
  return (query) => {
    // No prototype: a parameter may have any name.
    const read = Object.create(null) as Record<string, unknown>
    for (const [name, reader] of readers) {
      const texts = query.getAll(name)
      if (texts.length > 0) read[name] = reader(texts)
    }
    return read
  }
}

function readerOf(schema: TSchema): Reader {
  switch (schema[Kind]) {
    case 'Array':
      return (texts) => texts
    case 'Integer':
    case 'Number':
      return ([text]) => (/^-?\d+(\.\d+)?$/.test(text!) ? Number(text) : text)
    case 'Boolean':
      return ([text]) => (text === 'true' ? true : text === 'false' ? false : text)
    default:
      return ([text]) => text
  }
}
