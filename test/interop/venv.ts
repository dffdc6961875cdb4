import { $ } from 'bun'
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'

/** The release that we are compared with. */
export const version = '1.163.2'

/** The virtual environment with Synapse; made from PyPI when it is not there yet. */
export async function synapseVenv(): Promise<string> {
  const cache = process.env['XDG_CACHE_HOME'] ?? `${homedir()}/.cache`
  const venv = process.env['LANEWAY_SYNAPSE_VENV'] ?? `${cache}/laneway/synapse-${version}`
  if (existsSync(`${venv}/bin/synapse_homeserver`)) return venv
  await $`python3 -m venv ${venv}`.quiet()
  await $`${venv}/bin/pip install --quiet matrix-synapse==${version}`.quiet()
  return venv
}
