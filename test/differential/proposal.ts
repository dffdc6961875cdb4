import { domainOf } from '#core/ids.ts'
import type { JsonObject } from '#core/json.ts'
import type { Draft } from './make-event.ts'

/** What somebody would like to do to the room. */
export type Proposal = Pick<
  Draft,
  'type' | 'stateKey' | 'sender' | 'content' | 'redacts' | 'cosigners'
>

export const state = (
  sender: string,
  type: string,
  stateKey: string,
  content: JsonObject,
): Proposal => ({ type, sender, stateKey, content })

export const member = (
  sender: string,
  target: string,
  membership: string,
  more: JsonObject = {},
): Proposal => ({
  type: 'm.room.member',
  sender,
  stateKey: target,
  content: { membership, ...more },
  cosigners: cosignersOf(more['join_authorised_via_users_server']),
})

function cosignersOf(authoriser: JsonObject[string] | undefined): string[] {
  const server = typeof authoriser === 'string' ? domainOf(authoriser) : undefined
  return server === undefined ? [] : [server]
}
