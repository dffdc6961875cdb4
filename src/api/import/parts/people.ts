import type { Person } from '#api/import/parts/body.ts'
import { covers } from '#core/appservice.ts'
import { forbidden, invalidParam } from '#core/error.ts'
import { domainOf, isUserId, localpartOf } from '#core/ids.ts'
import type { Session } from '#engine/user/access-tokens.ts'
import type { ImportPerson } from '#engine/worker/import-steps.ts'
import * as users from '#store/user/users.ts'
import type { Context } from '#src/context.ts'

/** How the names of users begin whom an administrator's import may make. */
export const ghostPrefix = '_import_'
/** Accounts made at once, in one transaction. */
const atOnce = 500

/**
 * Those who speak in a batch, with accounts: who has none gets one, if their name says that they were
 * made for this. Only they leave the room again where it begins with the import.
 */
export async function preparePeople(
  ctx: Context,
  who: Session,
  mode: string,
  people: readonly Person[],
): Promise<ImportPerson[]> {
  for (const { user_id: userId } of people) requireOwn(ctx, who, userId)
  const ids = [...new Set(people.map((person) => person.user_id))]
  const there = await users.existing(ctx.sql, ids)
  // The first word on each counts.
  const each = new Map(people.toReversed().map((person) => [person.user_id, person]))
  const missing = [...each.values()].filter(({ user_id: userId }) => !there.has(userId))
  for (const { user_id: userId } of missing)
    if (!isGhost(who, userId))
      throw invalidParam(
        `There is no user ${userId}: only users whose names begin with ${ghostPrefix} are made by an import`,
      )
  // As many as the owner of the users takes at once.
  for (let from = 0; from < missing.length; from += atOnce)
    await ctx.accounts.makeMany(missing.slice(from, from + atOnce).map(accountOf), who.appservice)
  const isRoomsBeginning = mode === 'fresh' || mode === 'archive'
  return people.map((person) => ({
    userId: person.user_id,
    displayname: person.displayname ?? null,
    avatarUrl: person.avatar_url ?? null,
    stays: isRoomsBeginning && !isGhost(who, person.user_id),
  }))
}

function requireOwn({ serverName }: Context, { appservice }: Session, userId: string): void {
  if (!isUserId(userId) || domainOf(userId) !== serverName)
    throw invalidParam(`${userId} is not a user of this server`)
  if (appservice && !covers(appservice, 'users', userId))
    throw forbidden(`${userId} is in no namespace of the application service ${appservice.id}`)
}

const isGhost = ({ appservice }: Session, userId: string): boolean =>
  appservice ? covers(appservice, 'users', userId) : localpartOf(userId).startsWith(ghostPrefix)

function accountOf({ user_id: userId, displayname, avatar_url: avatarUrl }: Person) {
  return {
    userId,
    profile: {
      ...(displayname && { displayname: JSON.stringify(displayname) }),
      ...(avatarUrl && { avatar_url: JSON.stringify(avatarUrl) }),
    },
  }
}
