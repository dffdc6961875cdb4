/**
 * Operations that serve users who are not in good standing, by their names in the specification; what
 * is not named here turns them away.
 */

const words = (text: string) => new Set(text.split(/\s+/).filter(Boolean))

/** Spec: client-server-api/#guest-access. And `getVersions`, which serves everybody. */
export const forGuests = words(`
  getRoomState getEventContext getOneRoomEvent getRoomStateWithKey getRoomEvents getMembersByRoom
  roomInitialSync sync getEvents getContentAuthed getContentOverrideNameAuthed
  getContentThumbnailAuthed joinRoomById leaveRoom sendMessage setRoomStateWithKey sendToDevice
  setProfileField deleteProfileField getDevices getDevice updateDevice getTokenOwner uploadKeys
  queryKeys claimKeys getVersions slidingSync
`)

/** Spec: client-server-api/#account-locking */
export const forLocked = words('logout logout_all')

/** Spec: client-server-api/#account-suspension, and what tells nobody else anything. */
export const forSuspended = words(`
  leaveRoom forgetRoom redactEvent sendToDevice uploadKeys queryKeys claimKeys
  uploadCrossSigningKeys uploadCrossSigningSignatures postRoomKeysVersion putRoomKeysVersion
  deleteRoomKeysVersion putRoomKeyBySessionId deleteRoomKeyBySessionId putRoomKeysByRoomId
  deleteRoomKeysByRoomId putRoomKeys deleteRoomKeys defineFilter setAccountData
  setAccountDataPerRoom postReceipt setReadMarker setRoomTag deleteRoomTag postPusher setPushRule
  deletePushRule setPushRuleEnabled setPushRuleActions queryPublicRooms search searchUserDirectory
  reportRoom reportEvent reportUser requestOpenIdToken generateLoginToken changePassword
  deactivateAccount updateDevice deleteDevice deleteDevices logout logout_all
  slidingSync
`)
