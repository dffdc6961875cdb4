import { $ } from 'bun'
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'

/** The release that we are compared with. */
export const version = '1.163.2'

/** The last release that has MSC2716, with what of its time it needs beside it. */
export const lastWithHistory = '1.86.0'
const beside: Record<string, readonly string[]> = {
  [lastWithHistory]: [
    'pydantic<2',
    'pyOpenSSL<23.3',
    'cryptography<42',
    'prometheus_client<0.18',
    'Twisted<23',
    'attrs<24',
    'setuptools<70',
  ],
}

/** The virtual environment with a release of Synapse; made from PyPI when it is not there yet. */
export async function synapseVenv(release = version): Promise<string> {
  const cache = process.env['XDG_CACHE_HOME'] ?? `${homedir()}/.cache`
  const own = release === version ? process.env['LANEWAY_SYNAPSE_VENV'] : undefined
  const venv = own ?? `${cache}/laneway/synapse-${release}`
  if (existsSync(`${venv}/bin/synapse_homeserver`)) return venv
  await $`python3 -m venv ${venv}`.quiet()
  const wanted = [`matrix-synapse==${release}`, ...(beside[release] ?? [])]
  await $`${venv}/bin/pip install --quiet ${wanted}`.quiet()
  return venv
}
