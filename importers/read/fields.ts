/** A JSON object of which nothing is known yet. */
export type Fields = { [name: string]: unknown }

/** Whether a value of JSON is an object. */
export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const get = (value: unknown, name: string): unknown =>
  isFields(value) && Object.hasOwn(value, name) ? value[name] : undefined

/** A string, if there is one. */
export function text(value: unknown, name: string): string | undefined {
  const found = get(value, name)
  return typeof found === 'string' ? found : undefined
}

/** A string, or a number written as one: IDs that some exporters write without quotes. */
export function id(value: unknown, name: string): string | undefined {
  const found = get(value, name)
  if (typeof found === 'number' && Number.isSafeInteger(found)) return String(found)
  return typeof found === 'string' && found !== '' ? found : undefined
}

/** A number, if there is one. */
export function number(value: unknown, name: string): number | undefined {
  const found = get(value, name)
  return typeof found === 'number' ? found : undefined
}

/** True or false, if there is one. */
export function flag(value: unknown, name: string): boolean | undefined {
  const found = get(value, name)
  return typeof found === 'boolean' ? found : undefined
}

/** A list; an empty one if it is missing, null or something else. */
export function list(value: unknown, name: string): unknown[] {
  const found = get(value, name)
  return Array.isArray(found) ? found : []
}

/** The strings of a list. */
export function texts(value: unknown, name: string): string[] {
  return list(value, name).filter((each) => typeof each === 'string')
}

/** An object; an empty one if it is missing, null or something else. */
export function fields(value: unknown, name: string): Fields {
  const found = get(value, name)
  return isFields(found) ? found : {}
}
