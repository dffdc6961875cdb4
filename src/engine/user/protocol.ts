import type { Caller } from '#engine/worker/protocol.ts'

/** Where a change landed: the position of the user's shard at which readers find it. */
export type UserLanded = { shard: number; position: number }

export type NewAccount = {
  /** Undefined: no login by password. */
  passwordHash?: string
  admin: boolean
  createdAt: number
}

export type NewSession = {
  deviceId: string
  /** Only for a device that is new. */
  displayName?: string
  /** SHA-256 of the access token. */
  tokenHash: Uint8Array
  createdAt: number
}

/** To-device messages of one sender for one user. */
export type ToDevice = {
  sender: string
  type: string
  /** Device ID, or `*` for every device there is, and the content as JSON text. */
  messages: (readonly [deviceId: string, content: string])[]
  /** Of a message from another server: a second one with the same pair has no effect. */
  received?: { origin: string; messageId: string; at: number }
}

/** One device of another server's user changed. */
export type RemoteDevice = {
  deviceId: string
  streamId: number
  /** The updates before it; one that we do not know means that we missed some. */
  prevIds: number[]
  deleted: boolean
  /** The update as JSON text. */
  content: string
}

/**
 * What may be asked of the owner of a user's shard; the user comes first. Each call is answered when
 * its effect is committed and readers have been told of its position.
 */
export type UserCalls = {
  /** `M_USER_IN_USE` if there is such an account. */
  createUser: (userId: string, account: NewAccount) => UserLanded
  /** Ends what session the device had; makes the device if it is new. */
  createSession: (userId: string, session: NewSession) => UserLanded
  /** Removes a device, its tokens and what waits for it. */
  endSession: (userId: string, deviceId: string) => UserLanded
  endAllSessions: (userId: string) => UserLanded
  /** Replaces an entry of one room, or a global one; content is JSON text. */
  putAccountData: (
    userId: string,
    roomId: string | null,
    type: string,
    content: string,
  ) => UserLanded
  /** A value as JSON text, or null to remove the field. `M_PROFILE_TOO_LARGE` past the spec's bound. */
  putProfileField: (userId: string, name: string, value: string | null) => UserLanded
  /** `memberEvent` is the leave (or ban) that is current; a later membership brings the room back. */
  forgetRoom: (userId: string, roomId: string, memberEvent: string) => UserLanded
  /** For a local user. */
  deliverToDevice: (userId: string, message: ToDevice) => UserLanded
  /** For a user of another server; idempotent by its stream ID. */
  updateRemoteDevice: (userId: string, update: RemoteDevice) => UserLanded
}
export type Users = Caller<UserCalls>
