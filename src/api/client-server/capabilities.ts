import { op } from '#api/http/op.ts'
import { roomVersions, stableVersions } from '#core/room-version.ts'
import { Content, open } from '#core/schema.ts'

const offer = (versions: typeof roomVersions) =>
  Object.fromEntries(
    Array.from(versions.values(), ({ id, experimental }) => [
      id,
      experimental ? 'unstable' : 'stable',
    ]),
  )
const stable = offer(stableVersions)
const all = offer(roomVersions)

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
      'm.room_versions': {
        default: config.rooms.default_version,
        available: config.rooms.msc2716 ? all : stable,
      },
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
