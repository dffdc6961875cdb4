import type { Pool } from '#store/db.ts'
import type { Seeing } from '#src/metrics/seeing.ts'
import type { Config } from '#src/config.ts'
import type { Log } from '#src/log.ts'
import type { Intake } from '#engine/federation/intake.ts'
import type { OwnKeys } from '#engine/federation/own-keys.ts'
import type { ErasedUsers } from '#engine/read/erased.ts'
import type { EventIndex } from '#engine/read/event-index.ts'
import type { Bridges } from '#engine/appservice/bridges.ts'
import type { Media } from '#engine/media/media.ts'
import type { Previews } from '#engine/media/previews.ts'
import type { MediaFiles } from '#engine/media/files.ts'
import type { Thumbnails } from '#engine/media/thumbnails.ts'
import type { Presence } from '#engine/live/presence.ts'
import type { Typing } from '#engine/live/typing.ts'
import type { Positions } from '#engine/read/positions.ts'
import type { RemoteSpaces } from '#engine/read/remote-spaces.ts'
import type { Snapshots } from '#engine/read/snapshots.ts'
import type { SentMembers } from '#engine/sync/sent-members.ts'
import type { Sliding } from '#engine/sync/sliding/sliding.ts'
import type { UnreadCounts } from '#engine/sync/unread.ts'
import type { UserFacts } from '#engine/sync/user-facts.ts'
import type { RateLimits } from '#api/http/rate-limit.ts'
import type { Accounts } from '#engine/user/accounts.ts'
import type { AccessTokens } from '#engine/user/access-tokens.ts'
import type { Departures } from '#engine/user/departures.ts'
import type { EmailValidations } from '#engine/user/email-validations.ts'
import type { Keys } from '#engine/user/keys/keys.ts'
import type { ProfileNews } from '#engine/user/profile-news.ts'
import type { RoomDeletions } from '#engine/user/room-deletions.ts'
import type { SyncFilters } from '#engine/user/sync-filters.ts'
import type { Receipts } from '#engine/live/receipts.ts'
import type { Users } from '#engine/user/protocol.ts'
import type { Uia } from '#engine/user/uia/uia.ts'
import type { Federation, Rooms, Signal } from '#engine/worker/protocol.ts'
import type { Appservices } from '#core/appservice.ts'
import type { SigningKey } from '#core/signing.ts'

/** What every handler may use. Built once, in `createContext`, in dependency order. */
export type Context = {
  readonly config: Config
  readonly serverName: string
  readonly log: Log
  /** As they are registered: data, the same from start to end. */
  readonly appservices: Appservices
  /** What application services are sent and asked. */
  readonly bridges: Pick<
    Bridges,
    'questions' | 'heardFrom' | 'socketOf' | 'hangUp' | 'standings' | 'retry' | 'skip'
  >
  /** Milliseconds since 1970; tests move it. */
  readonly clock: () => number
  /** The pool of the main thread: reads, and the tables that no shard owns. */
  readonly sql: Pool
  /** The server's current signing key. */
  readonly signingKey: SigningKey
  /** That key, and those it had before: what other servers are told. */
  readonly ownKeys: OwnKeys
  /** Takes in what other servers send. */
  readonly intake: Intake
  /** The only way to write a room: its owner may be a thread, or another machine. */
  readonly rooms: Rooms
  /** The only way to write what belongs to a user's shard. */
  readonly users: Users
  /** The only way to ask another server. */
  readonly federation: Federation
  /** Tells the federation worker something that needs no answer. */
  readonly signal: (signal: Signal) => void
  /** What is asked about keys for encryption. */
  readonly keys: Keys
  /** Makes accounts, begins and ends their sessions. */
  readonly accounts: Accounts
  /** Asks callers to prove that it is they who want something. */
  readonly uia: Uia
  /** Finds out whose an e-mail address is. */
  readonly emails: EmailValidations
  /** Leaves the rooms of users who are deactivated. */
  readonly departures: Departures
  /** Deletes rooms, in the background. */
  readonly roomDeletions: RoomDeletions
  /** Tells the rooms of a user of a new name or picture. */
  readonly profileNews: ProfileNews
  /** Who an access token belongs to. */
  readonly tokens: AccessTokens
  /** How far users have read. */
  readonly receipts: Receipts
  /** Whose events are shown redacted to who was not there. */
  readonly erased: ErasedUsers
  /** Files that users send, of this server and others. */
  readonly media: Media
  readonly mediaFiles: MediaFiles
  readonly thumbnails: Thumbnails
  /** What is shown of web pages that users link to. */
  readonly previews: Previews
  /** Who types where. */
  readonly typing: Typing
  /** Who is there; undefined where the operator wants nobody to know. */
  readonly presence: Presence | undefined
  /** What the server does, for those who watch it. */
  readonly seeing: Pick<Seeing, 'metrics' | 'unready' | 'longestLanes'>
  /** What callers may still ask; shared by all listeners. */
  readonly limits: RateLimits
  /** How far each shard is committed, and who wants to know. */
  readonly positions: Positions
  /** Relations and words of events; it trails what is committed. */
  readonly eventIndex: EventIndex
  /** The state before events, as far as it is kept in memory. */
  readonly snapshots: Snapshots
  /** Rooms that other servers describe. */
  readonly remoteSpaces: RemoteSpaces
  /** What users have not read, as it was counted last. */
  readonly unread: UnreadCounts
  readonly facts: UserFacts
  /** Filters of /sync that were read before. */
  readonly syncFilters: SyncFilters
  /** What lazy loading has told each client. */
  readonly sentMembers: SentMembers
  /** What clients of sliding sync were told, and what it keeps of rooms. */
  readonly sliding: Sliding
}
