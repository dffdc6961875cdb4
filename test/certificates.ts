import { $ } from 'bun'
import { mkdir, writeFile } from 'node:fs/promises'
import { isIP } from 'node:net'

/** A throw-away certificate authority and one server certificate for loopback names. */
export type Certificates = { ca: string; key: string; certificate: string }

/** Makes both in `directory` with the `openssl` command, valid for two days; for loopback and `names`, which may be addresses. */
export async function makeCertificates(
  directory: string,
  names: readonly string[] = [],
): Promise<Certificates> {
  await mkdir(directory, { recursive: true })
  const at = (name: string) => `${directory}/${name}`
  const subjects = ['localhost', ...names, '127.0.0.1']
    .map((name) => `${isIP(name) ? 'IP' : 'DNS'}:${name}`)
    .join(',')
  await writeFile(at('server.ext'), `basicConstraints=CA:FALSE\nsubjectAltName=${subjects}\n`)
  await $`openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=laneway-test-ca -keyout ${at('ca.key')} -out ${at('ca.crt')}`.quiet()
  await $`openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout ${at('server.key')} -out ${at('server.csr')}`.quiet()
  await $`openssl x509 -req -days 2 -in ${at('server.csr')} -CA ${at('ca.crt')} -CAkey ${at('ca.key')} -CAcreateserial -extfile ${at('server.ext')} -out ${at('server.crt')}`.quiet()
  return { ca: at('ca.crt'), key: at('server.key'), certificate: at('server.crt') }
}
