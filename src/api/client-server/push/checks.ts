import { invalidParam, missingParam } from '#core/error.ts'
import { isObject, type JsonObject } from '#core/json.ts'
import type { PusherWish } from '#engine/user/writers/pushers.ts'

const maxData = 4_096
const maxName = 512
const gatewayPath = '/_matrix/push/v1/notify'

/** The keys that name a pusher, which are never too long to be looked for. */
export function checkKey(appId: string, pushkey: string): void {
  // Not spec: the spec counts characters of `app_id` and bytes of `pushkey`.
  if (!isText(appId, 64)) throw invalidParam('`app_id` has 1 to 64 bytes')
  if (!isText(pushkey, 512)) throw invalidParam('`pushkey` has 1 to 512 bytes')
}

/** Reads the body of a pusher that is to be set, beside its kind. */
export function readPusher(
  body: JsonObject,
  { deviceId, createdAt }: { deviceId: string; createdAt: number },
): Omit<PusherWish, 'kind' | 'gateway' | 'stopToken'> & { dataObject: JsonObject } {
  const required = ['app_display_name', 'device_display_name', 'lang', 'data']
  const missing = required.filter((name) => body[name] === undefined)
  if (missing.length > 0) throw missingParam(`Missing parameters: ${missing.join(', ')}`)
  const text = (name: string): string => {
    const value = body[name]
    if (typeof value !== 'string' || Buffer.byteLength(value) > maxName || value.includes('\0'))
      throw invalidParam(`'${name}' is no text of at most ${maxName} bytes`)
    return value
  }
  const { data } = body
  if (!isObject(data)) throw invalidParam('`data` is no object')
  const json = JSON.stringify(data)
  if (Buffer.byteLength(json) > maxData) throw invalidParam(`'data' has at most ${maxData} bytes`)
  return {
    appId: text('app_id'),
    pushkey: text('pushkey'),
    appName: text('app_display_name'),
    deviceName: text('device_display_name'),
    // Some clients say that they have none.
    profileTag: (body['profile_tag'] ?? null) === null ? null : text('profile_tag'),
    lang: text('lang'),
    data: json,
    dataObject: data,
    deviceId,
    createdAt,
    append: body['append'] === true,
  }
}

/** Where a gateway is, of whose address nothing but its own path may be asked. */
export function gatewayOf(data: JsonObject, insecure: boolean): string {
  const { url, format } = data
  if (url === undefined) throw missingParam('`data` has no `url`')
  const parsed = typeof url === 'string' && url.length <= 2_048 ? URL.parse(url) : null
  if (!parsed) throw invalidParam('`url` is no address')
  const isSecure = parsed.protocol === 'https:'
  if (!isSecure && !(insecure && parsed.protocol === 'http:'))
    throw invalidParam('`url` is no https:// address')
  if (parsed.username !== '' || parsed.password !== '')
    throw invalidParam('`url` holds a name or a password')
  if (parsed.pathname !== gatewayPath) throw invalidParam(`'url' has not the path ${gatewayPath}`)
  if (format !== undefined && typeof format !== 'string') throw invalidParam('`format` is no text')
  return parsed.origin
}

const isText = (text: string, maxBytes: number): boolean =>
  text !== '' && Buffer.byteLength(text) <= maxBytes && !text.includes('\0')
