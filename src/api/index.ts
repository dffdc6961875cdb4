import * as adminAccounts from '#api/admin/accounts.ts'
import * as adminAppservices from '#api/admin/appservices.ts'
import * as adminDevices from '#api/admin/devices.ts'
import * as adminMetrics from '#api/admin/metrics.ts'
import * as adminRegister from '#api/admin/register.ts'
import * as adminRegistrationTokens from '#api/admin/registration-tokens.ts'
import * as adminFederation from '#api/admin/federation.ts'
import * as adminHealth from '#api/admin/health.ts'
import * as adminLanes from '#api/admin/lanes.ts'
import * as adminMedia from '#api/admin/media.ts'
import * as adminReports from '#api/admin/reports.ts'
import * as adminRoomDeletion from '#api/admin/room-deletion.ts'
import * as adminRoomMembership from '#api/admin/room-membership.ts'
import * as adminRooms from '#api/admin/rooms.ts'
import * as adminServer from '#api/admin/server.ts'
import * as adminStatistics from '#api/admin/statistics.ts'
import * as adminUserFacts from '#api/admin/user-facts.ts'
import * as adminUserLimits from '#api/admin/user-limits.ts'
import * as adminUsers from '#api/admin/users.ts'
import * as accountData from '#api/client-server/account-data.ts'
import * as accountDeactivation from '#api/client-server/account-deactivation.ts'
import * as admin from '#api/client-server/admin.ts'
import * as administrativeContact from '#api/client-server/administrative-contact.ts'
import * as appservicePing from '#api/client-server/appservice-ping.ts'
import * as appserviceRoomDirectory from '#api/client-server/appservice-room-directory.ts'
import * as authedContentRepo from '#api/client-server/authed-content-repo.ts'
import * as banning from '#api/client-server/banning.ts'
import * as batchSend from '#api/client-server/batch-send.ts'
import * as capabilities from '#api/client-server/capabilities.ts'
import * as contentRepo from '#api/client-server/content-repo.ts'
import * as createRoom from '#api/client-server/create-room.ts'
import * as crossSigning from '#api/client-server/cross-signing.ts'
import * as dehydratedDevices from '#api/client-server/dehydrated-devices.ts'
import * as deviceManagement from '#api/client-server/device-management.ts'
import * as directory from '#api/client-server/directory.ts'
import * as eventContext from '#api/client-server/event-context.ts'
import * as filter from '#api/client-server/filter.ts'
import * as inviting from '#api/client-server/inviting.ts'
import * as joining from '#api/client-server/joining.ts'
import * as keyBackup from '#api/client-server/key-backup.ts'
import * as keys from '#api/client-server/keys.ts'
import * as kicking from '#api/client-server/kicking.ts'
import * as knocking from '#api/client-server/knocking.ts'
import * as leaving from '#api/client-server/leaving.ts'
import * as listJoinedRooms from '#api/client-server/list-joined-rooms.ts'
import * as listPublicRooms from '#api/client-server/list-public-rooms.ts'
import * as loginToken from '#api/client-server/login-token.ts'
import * as login from '#api/client-server/login.ts'
import * as logout from '#api/client-server/logout.ts'
import * as messagePagination from '#api/client-server/message-pagination.ts'
import * as mutualRooms from '#api/client-server/mutual-rooms.ts'
import * as oauthServerMetadata from '#api/client-server/oauth-server-metadata.ts'
import * as oldSync from '#api/client-server/old-sync.ts'
import * as openid from '#api/client-server/openid.ts'
import * as passwordManagement from '#api/client-server/password-management.ts'
import * as policyServer from '#api/client-server/policy-server.ts'
import * as presence from '#api/client-server/presence.ts'
import * as profile from '#api/client-server/profile.ts'
import * as notifications from '#api/client-server/notifications.ts'
import * as pusher from '#api/client-server/pusher.ts'
import * as pushrules from '#api/client-server/pushrules.ts'
import * as read_markers from '#api/client-server/read-markers.ts'
import * as receipts from '#api/client-server/receipts.ts'
import * as redaction from '#api/client-server/redaction.ts'
import * as refresh from '#api/client-server/refresh.ts'
import * as registrationTokens from '#api/client-server/registration-tokens.ts'
import * as relations from '#api/client-server/relations.ts'
import * as registration from '#api/client-server/registration.ts'
import * as reportContent from '#api/client-server/report-content.ts'
import * as roomEventByTimestamp from '#api/client-server/room-event-by-timestamp.ts'
import * as roomInitialSync from '#api/client-server/room-initial-sync.ts'
import * as roomSend from '#api/client-server/room-send.ts'
import * as roomState from '#api/client-server/room-state.ts'
import * as roomSummary from '#api/client-server/room-summary.ts'
import * as roomUpgrades from '#api/client-server/room-upgrades.ts'
import * as rooms from '#api/client-server/rooms.ts'
import * as search from '#api/client-server/search.ts'
import * as slidingSync from '#api/client-server/sliding-sync.ts'
import * as spaceHierarchy from '#api/client-server/space-hierarchy.ts'
import * as support from '#api/client-server/support.ts'
import * as sync from '#api/client-server/sync.ts'
import * as threadsList from '#api/client-server/threads-list.ts'
import * as tags from '#api/client-server/tags.ts'
import * as thirdPartyLookup from '#api/client-server/third-party-lookup.ts'
import * as toDevice from '#api/client-server/to-device.ts'
import * as typing from '#api/client-server/typing.ts'
import * as users from '#api/client-server/users.ts'
import * as versions from '#api/client-server/versions.ts'
import * as voip from '#api/client-server/voip.ts'
import * as wellknown from '#api/client-server/wellknown.ts'
import * as whoami from '#api/client-server/whoami.ts'
import * as importBatches from '#api/import/batches.ts'
import * as importEnding from '#api/import/ending.ts'
import * as importSessions from '#api/import/sessions.ts'
import * as emailPage from '#api/pages/email.ts'
import * as lettersPage from '#api/pages/letters.ts'
import * as uiaFallback from '#api/pages/uia-fallback.ts'
import * as federationBackfill from '#api/server-server/backfill.ts'
import * as federationContentRepository from '#api/server-server/content-repository.ts'
import * as federationEventAuth from '#api/server-server/event-auth.ts'
import * as federationEvents from '#api/server-server/events.ts'
import * as federationInvites from '#api/server-server/invites.ts'
import * as federationJoins from '#api/server-server/joins.ts'
import * as federationKeysQuery from '#api/server-server/keys-query.ts'
import * as federationKeysServer from '#api/server-server/keys-server.ts'
import * as federationKnocks from '#api/server-server/knocks.ts'
import * as federationLeaving from '#api/server-server/leaving.ts'
import * as federationOpenid from '#api/server-server/openid.ts'
import * as federationPublicRooms from '#api/server-server/public-rooms.ts'
import * as federationQuery from '#api/server-server/query.ts'
import * as federationSpaceHierarchy from '#api/server-server/space-hierarchy.ts'
import * as federationThirdPartyInvite from '#api/server-server/third-party-invite.ts'
import * as federationTransactions from '#api/server-server/transactions.ts'
import * as federationUserDevices from '#api/server-server/user-devices.ts'
import * as federationUserKeys from '#api/server-server/user-keys.ts'
import * as federationVersion from '#api/server-server/version.ts'
import * as federationWellknown from '#api/server-server/wellknown.ts'
import type { AnyOp } from '#api/http/op.ts'

/** The table of contents: a spec file a line. Each exports its operations under their spec names. */
export const files: Readonly<Record<string, Record<string, AnyOp>>> = {
  'admin/accounts': adminAccounts,
  'admin/appservices': adminAppservices,
  'admin/devices': adminDevices,
  'admin/register': adminRegister,
  'admin/registration-tokens': adminRegistrationTokens,
  'admin/federation': adminFederation,
  'admin/health': adminHealth,
  'admin/lanes': adminLanes,
  'admin/media': adminMedia,
  'admin/metrics': adminMetrics,
  'admin/reports': adminReports,
  'admin/room-deletion': adminRoomDeletion,
  'admin/room-membership': adminRoomMembership,
  'admin/rooms': adminRooms,
  'admin/server': adminServer,
  'admin/statistics': adminStatistics,
  'admin/user-facts': adminUserFacts,
  'admin/user-limits': adminUserLimits,
  'admin/users': adminUsers,
  'client-server/account-data': accountData,
  'client-server/account-deactivation': accountDeactivation,
  'client-server/admin': admin,
  'client-server/administrative-contact': administrativeContact,
  'client-server/appservice-ping': appservicePing,
  'client-server/appservice-room-directory': appserviceRoomDirectory,
  'client-server/authed-content-repo': authedContentRepo,
  'client-server/banning': banning,
  'client-server/batch-send': batchSend,
  'client-server/capabilities': capabilities,
  'client-server/content-repo': contentRepo,
  'client-server/create-room': createRoom,
  'client-server/cross-signing': crossSigning,
  'client-server/dehydrated-devices': dehydratedDevices,
  'client-server/device-management': deviceManagement,
  'client-server/directory': directory,
  'client-server/event-context': eventContext,
  'client-server/filter': filter,
  'client-server/inviting': inviting,
  'client-server/joining': joining,
  'client-server/key-backup': keyBackup,
  'client-server/keys': keys,
  'client-server/kicking': kicking,
  'client-server/knocking': knocking,
  'client-server/leaving': leaving,
  'client-server/list-joined-rooms': listJoinedRooms,
  'client-server/list-public-rooms': listPublicRooms,
  'client-server/login': login,
  'client-server/login-token': loginToken,
  'client-server/logout': logout,
  'client-server/message-pagination': messagePagination,
  'client-server/mutual-rooms': mutualRooms,
  'client-server/oauth-server-metadata': oauthServerMetadata,
  'client-server/old-sync': oldSync,
  'client-server/openid': openid,
  'client-server/password-management': passwordManagement,
  'client-server/policy-server': policyServer,
  'client-server/presence': presence,
  'client-server/profile': profile,
  'client-server/notifications': notifications,
  'client-server/pusher': pusher,
  'client-server/pushrules': pushrules,
  'client-server/read-markers': read_markers,
  'client-server/receipts': receipts,
  'client-server/redaction': redaction,
  'client-server/refresh': refresh,
  'client-server/registration': registration,
  'client-server/registration-tokens': registrationTokens,
  'client-server/relations': relations,
  'client-server/report-content': reportContent,
  'client-server/room-event-by-timestamp': roomEventByTimestamp,
  'client-server/room-initial-sync': roomInitialSync,
  'client-server/room-send': roomSend,
  'client-server/room-state': roomState,
  'client-server/room-summary': roomSummary,
  'client-server/room-upgrades': roomUpgrades,
  'client-server/rooms': rooms,
  'client-server/search': search,
  'client-server/sliding-sync': slidingSync,
  'client-server/space-hierarchy': spaceHierarchy,
  'client-server/support': support,
  'client-server/sync': sync,
  'client-server/threads-list': threadsList,
  'client-server/tags': tags,
  'client-server/third-party-lookup': thirdPartyLookup,
  'client-server/to-device': toDevice,
  'client-server/typing': typing,
  'client-server/users': users,
  'client-server/versions': versions,
  'client-server/voip': voip,
  'client-server/wellknown': wellknown,
  'client-server/whoami': whoami,
  'import/batches': importBatches,
  'import/ending': importEnding,
  'import/sessions': importSessions,
  'pages/email': emailPage,
  'pages/letters': lettersPage,
  'pages/uia-fallback': uiaFallback,
  'server-server/backfill': federationBackfill,
  'server-server/content-repository': federationContentRepository,
  'server-server/event-auth': federationEventAuth,
  'server-server/events': federationEvents,
  'server-server/invites': federationInvites,
  'server-server/joins': federationJoins,
  'server-server/keys-query': federationKeysQuery,
  'server-server/keys-server': federationKeysServer,
  'server-server/knocks': federationKnocks,
  'server-server/leaving': federationLeaving,
  'server-server/openid': federationOpenid,
  'server-server/public-rooms': federationPublicRooms,
  'server-server/query': federationQuery,
  'server-server/space-hierarchy': federationSpaceHierarchy,
  'server-server/third-party-invite': federationThirdPartyInvite,
  'server-server/transactions': federationTransactions,
  'server-server/user-devices': federationUserDevices,
  'server-server/user-keys': federationUserKeys,
  'server-server/version': federationVersion,
  'server-server/wellknown': federationWellknown,
}

/** All operations; what else a file exports is no operation, and is not exported. */
export const ops: readonly AnyOp[] = Object.values(files).flatMap((file) => Object.values(file))
