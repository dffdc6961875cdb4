import type { Ledger, RoomRow } from '#importers/state/ledger.ts'

const mostNames = 5

/** What a room is called; one without a name, as direct chats are, by who is in it. */
export function titleOf({ name, members = [] }: RoomRow, ledger: Ledger): string | undefined {
  if (name !== undefined) return name
  const names = members.slice(0, mostNames).map((id) => {
    const person = ledger.person(id)
    return person?.name?.trim() || person?.username || id
  })
  if (names.length === 0) return undefined
  const more = members.length - names.length
  return names.join(', ') + (more > 0 ? ` and ${more} more` : '')
}
