import type { UserCalls } from './protocol.ts'
import { accountDataWriters } from './writers/account-data.ts'
import { accountChangeWriters } from './writers/account-changes.ts'
import { accountWriters } from './writers/accounts.ts'
import { crossSigningWriters } from './writers/cross-signing.ts'
import { dehydratedDeviceWriters } from './writers/dehydrated-devices.ts'
import { introductionWriters } from './writers/introductions.ts'
import { keyBackupWriters } from './writers/key-backup.ts'
import { keyWriters } from './writers/keys.ts'
import { profileWriters } from './writers/profiles.ts'
import { pusherWriters } from './writers/pushers.ts'
import { pushRuleWriters } from './writers/push-rules.ts'
import { receiptWriters } from './writers/receipts.ts'
import { remoteDeviceWriters } from './writers/remote-devices.ts'
import { sessionWriters } from './writers/sessions.ts'
import { tagWriters } from './writers/tags.ts'
import { toDeviceWriters } from './writers/to-device.ts'
import type { Writers } from './writers/writer.ts'

/** How the calls of a batch are written, kind by kind. */
export const writers: Writers<UserCalls> = {
  ...accountWriters,
  ...accountChangeWriters,
  ...accountDataWriters,
  ...crossSigningWriters,
  ...dehydratedDeviceWriters,
  ...introductionWriters,
  ...keyBackupWriters,
  ...keyWriters,
  ...profileWriters,
  ...pusherWriters,
  ...pushRuleWriters,
  ...receiptWriters,
  ...remoteDeviceWriters,
  ...sessionWriters,
  ...tagWriters,
  ...toDeviceWriters,
}
