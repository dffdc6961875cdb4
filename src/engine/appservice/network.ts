/** The name by which clients ask for the directory that an application service has of a network. */
export const instanceId = (appserviceId: string, networkId: string): string =>
  `${appserviceId}|${networkId}`

/**
 * Which directory is asked for: undefined is that of this server.
 *
 * Spec: client-server-api, POST /publicRooms
 */
export function directoryOf({
  include_all_networks: all,
  third_party_instance_id: instance,
}: {
  include_all_networks?: boolean | undefined
  third_party_instance_id?: string | null | undefined
}): { appserviceId: string; networkId: string } | 'all' | undefined {
  if (!instance) return all ? 'all' : undefined
  const bar = instance.lastIndexOf('|')
  // One that is none of ours has no rooms.
  return { appserviceId: instance.slice(0, Math.max(bar, 0)), networkId: instance.slice(bar + 1) }
}
