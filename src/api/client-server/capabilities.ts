import { op } from '#api/http/op.ts'
import { roomVersions } from '#core/room-version.ts'
import { Content, open } from '#core/schema.ts'

const available = Object.fromEntries([...roomVersions.keys()].map((id) => [id, 'stable']))

export const getCapabilities = op({
  id: 'getCapabilities',
  method: 'GET',
  path: '/_matrix/client/v3/capabilities',
  also: ['/_matrix/client/r0/capabilities'],
  auth: 'user',
  limit: 'lookup',
  response: open({ capabilities: Content }),

  run: ({ who }, { config, emails }) => ({
    capabilities: {
      'm.room_versions': { default: config.rooms.default_version, available },
      // An application service logs in as its users; they have no passwords.
      'm.change_password': { enabled: !who.appservice },
      'm.3pid_changes': { enabled: emails.enabled && !who.appservice },
      'm.get_login_token': { enabled: !who.appservice },
      ...(who.admin && { 'm.account_moderation': { suspend: true, lock: true } }),
      'm.profile_fields': { enabled: true },
      // Deprecated, for clients that do not know the one before.
      'm.set_displayname': { enabled: true },
      'm.set_avatar_url': { enabled: true },
    },
  }),
})
