import { parseJson } from '#core/canonical-json.ts'
import { isObject, type Json } from '#core/json.ts'
import type { Sql } from '#store/db.ts'
import * as readUris from '#store/room/read-uris.ts'
import type { RoomRef } from './room-ref.ts'

/** Messages of one statement. */
const page = 500

/** The `mxc://` URIs that the messages of a room name, each once; those of encrypted messages nobody knows here. */
export async function mediaOfRoom(sql: Sql, { shard, roomNid }: RoomRef): Promise<Set<string>> {
  const uris = new Set<string>()
  let after: readUris.UriRow | undefined
  do {
    const rows = await readUris.messagesWithMedia(sql, shard, roomNid, after, page)
    for (const { json } of rows) for (const uri of urisIn(json)) uris.add(uri)
    after = rows.length < page ? undefined : rows.at(-1)
  } while (after)
  return uris
}

/** Of a message: the file, and its thumbnail, encrypted or not. */
function urisIn(json: string): string[] {
  const event = parseJson(json)
  const content = membersOf(event)['content']
  const info = membersOf(content)['info']
  return [
    membersOf(content)['url'],
    membersOf(membersOf(content)['file'])['url'],
    membersOf(info)['thumbnail_url'],
    membersOf(membersOf(info)['thumbnail_file'])['url'],
  ].filter((uri) => typeof uri === 'string' && uri.startsWith('mxc://')) as string[]
}

const membersOf = (json: Json | undefined): { [name: string]: Json } =>
  json !== undefined && isObject(json) ? json : {}
