import type { Caller } from '#engine/worker/protocol.ts'
import type { AccountDataCalls } from './writers/account-data.ts'
import type { AccountChangeCalls } from './writers/account-changes.ts'
import type { AccountCalls } from './writers/accounts.ts'
import type { CrossSigningCalls } from './writers/cross-signing.ts'
import type { DehydratedDeviceCalls } from './writers/dehydrated-devices.ts'
import type { IntroductionCalls } from './writers/introductions.ts'
import type { KeyBackupCalls } from './writers/key-backup.ts'
import type { KeyCalls } from './writers/keys.ts'
import type { ProfileCalls } from './writers/profiles.ts'
import type { PusherCalls } from './writers/pushers.ts'
import type { PushRuleCalls } from './writers/push-rules.ts'
import type { ReceiptCalls } from './writers/receipts.ts'
import type { RemoteDeviceCalls } from './writers/remote-devices.ts'
import type { SessionCalls } from './writers/sessions.ts'
import type { TagCalls } from './writers/tags.ts'
import type { ToDeviceCalls } from './writers/to-device.ts'

/**
 * What may be asked of the owner of a user's shard; the user comes first. Each call is answered when
 * its effect is committed and readers have been told of its position.
 */
export type UserCalls = AccountCalls &
  AccountChangeCalls &
  AccountDataCalls &
  CrossSigningCalls &
  DehydratedDeviceCalls &
  IntroductionCalls &
  KeyBackupCalls &
  KeyCalls &
  ProfileCalls &
  PusherCalls &
  PushRuleCalls &
  ReceiptCalls &
  RemoteDeviceCalls &
  SessionCalls &
  TagCalls &
  ToDeviceCalls
export type Users = Caller<UserCalls>
