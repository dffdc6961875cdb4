import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import type { AnyOp } from '#api/http/op.ts'
import { type Place, describedIn } from '#test/spec/ledger.ts'
import { SchemaLoader } from '#test/spec/schema.ts'

type Answer = { status: number; contentType: string; text: string }

/** Holds answers to the official OpenAPI files: the status must be described, the body must fit. */
export class AnswerCheck {
  readonly #schemas: SchemaLoader
  readonly #folder: string
  #places: Promise<Map<string, Place[]>> | undefined
  readonly #compiled = new Map<object, Promise<ValidateFunction>>()
  readonly #ajv = new Ajv2020({
    strict: false,
    validateSchema: false,
    // Of Matrix's own formats only patterns say anything, and those stand beside them.
    validateFormats: false,
    allErrors: true,
  })

  constructor(folder: string) {
    this.#folder = folder
    this.#schemas = new SchemaLoader(folder)
  }

  /** What is wrong with an answer; undefined if nothing is. */
  async faultOf(op: AnyOp, answer: Answer): Promise<string | undefined> {
    const places = await (this.#places ??= placesIn(this.#folder))
    const described = places.get(routeOf(op.method, op.path))
    if (!described) return answer.status >= 400 ? errorFault(answer) : undefined
    // Two files may describe a route, each with a body of its own.
    const faults = await Promise.all(described.map((place) => this.#faultAt(place, answer)))
    return faults.includes(undefined) ? undefined : faults.join('; or ')
  }

  async #faultAt(place: Place, answer: Answer): Promise<string | undefined> {
    const { status } = answer
    const response = responseAt(place, status)
    if (!response) return status >= 400 ? errorFault(answer) : `The spec knows no status ${status}`
    const schema = response.content?.['application/json']?.schema
    // A request for more authentication is no error: it may come without an errcode.
    const asksForMore = JSON.stringify(schema ?? null).includes('auth_response.yaml')
    // Where a token is needed as well, 401 says first that it is not there, or not good.
    if (asksForMore && tokenError.test(answer.text)) return errorFault(answer)
    const fault = status >= 400 && !asksForMore ? errorFault(answer) : undefined
    if (fault !== undefined || !schema) return fault
    if (answer.contentType !== 'application/json')
      return `The spec wants JSON, not '${answer.contentType}'`
    const validate = await this.#validator(schema, `api/${place.document}`)
    return validate(JSON.parse(answer.text))
      ? undefined
      : this.#ajv.errorsText(validate.errors, { dataVar: 'body' })
  }

  #validator(schema: object, document: string): Promise<ValidateFunction> {
    let compiled = this.#compiled.get(schema)
    if (!compiled) {
      compiled = this.#schemas
        .resolve(schema, document)
        .then((resolved) => this.#ajv.compile(withoutOrigin(resolved) as object))
      this.#compiled.set(schema, compiled)
    }
    return compiled
  }
}

/**
 * A mistake of the spec: it requires `origin` of events, which their own formats do not have, or not
 * any more (v11+).
 */
function withoutOrigin(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(withoutOrigin)
  if (typeof schema !== 'object' || schema === null) return schema
  const entries = Object.entries(schema).map(([key, value]) => {
    const isOfEvent = key === 'required' && Array.isArray(value) && value.includes('sender')
    return [key, isOfEvent ? value.filter((name) => name !== 'origin') : withoutOrigin(value)]
  })
  return Object.fromEntries(entries)
}

/** A route whatever its parameters are called: `:name` here, `{name}` in the spec. */
const routeOf = (method: string, path: string) => `${method} ${path.replace(/:\w+|\{\w+\}/g, '{}')}`

async function placesIn(folder: string): Promise<Map<string, Place[]>> {
  const places = new Map<string, Place[]>()
  for (const { row, place } of await describedIn(folder)) {
    const route = routeOf(row.method, row.path)
    places.set(route, [...(places.get(route) ?? []), place])
  }
  return places
}

/** The description of a status; some stand apart in their document, for several operations. */
function responseAt({ operation, components }: Place, status: number) {
  const response = operation.responses[status]
  const name = response?.$ref?.replace('#/components/responses/', '')
  return name === undefined ? response : components?.responses?.[name]
}

const tokenError = /"errcode":"M_(MISSING_TOKEN|UNKNOWN_TOKEN|USER_LOCKED)"/

/** Spec: client-server-api/#standard-error-response */
function errorFault({ status, text }: Answer): string | undefined {
  // The spec's files forget that some operations may ask for more authentication.
  if (status === 401 && text.includes('"flows":')) return undefined
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch {
    return `The answer ${status} is not JSON`
  }
  const { errcode, error } = (body ?? {}) as Record<string, unknown>
  if (typeof errcode === 'string' && /^[A-Z]|\./.test(errcode) && typeof error === 'string')
    return undefined
  return `The answer ${status} is no standard error: ${text}`
}

/** Without the spec's files: whatever asks for more authentication names its flows. */
const generalFault = (answer: Answer) =>
  answer.status < 400 || (answer.status === 401 && answer.text.includes('"flows":'))
    ? undefined
    : errorFault(answer)

const folder = process.env['LANEWAY_SPEC']
const check = folder === undefined || folder === '' ? undefined : new AnswerCheck(folder)
const running = new Set<Promise<void>>()
let faults: string[] = []
let seen = 0
const operations = new Set<string>()

/** For `mount`'s `onAnswer`: holds what a test is answered to the spec; `answersChecked` tells. */
export function checkAnswer(op: AnyOp, response: Response): void {
  // A page of ours is for people.
  if (op.path.startsWith('/_laneway/client/')) return
  seen++
  operations.add(`${op.method} ${op.path}`)
  const copy = response.clone()
  const { status } = copy
  const contentType = copy.headers.get('content-type')?.split(';')[0]?.trim() ?? ''
  const checked = (async () => {
    const answer = { status, contentType, text: await copy.text() }
    const fault = await (check ? check.faultOf(op, answer) : generalFault(answer))
    if (fault !== undefined)
      faults.push(`${op.id} answered ${status}: ${fault}\n${answer.text.slice(0, 2000)}`)
  })()
    .catch((error: unknown) => void faults.push(`${op.id} was not checked: ${String(error)}`))
    .finally(() => running.delete(checked))
  running.add(checked)
}

/** Waits for the checks that are running; throws what they found. */
export async function answersChecked(): Promise<void> {
  while (running.size > 0) await Promise.all(running)
  if (faults.length === 0) return
  const found = faults
  faults = []
  throw new Error(`Not what the spec says:\n${found.join('\n')}`)
}

/** What a run says at its end. */
export const summary = (): string | undefined =>
  seen === 0
    ? undefined
    : check
      ? `${seen} responses of ${operations.size} operations were checked against the spec`
      : `${seen} responses were not checked against the spec: LANEWAY_SPEC is not set`
