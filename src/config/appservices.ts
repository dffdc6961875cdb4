import { readFile } from 'node:fs/promises'
import { readRegistration, sharedKeys } from '#core/appservice-registration.ts'
import { type Appservice, type Appservices, appservicesOf } from '#core/appservice.ts'
import type { Config } from '#src/config.ts'
import { StartupError } from '#store/startup-error.ts'

type LoadFrom = Pick<Config, 'server_name'> & { appservices: Pick<Config['appservices'], 'files'> }
type File = { path: string; appservice?: Appservice; faults: readonly string[] }

/** Reads the registrations that the configuration names; throws every fault of all of them at once. */
export async function loadAppservices({
  server_name: serverName,
  appservices: { files: paths },
}: LoadFrom): Promise<Appservices> {
  const files = await Promise.all(paths.map((path) => readOne(path, serverName)))
  const faults = [
    ...files.flatMap(({ path, faults: own }) => own.map((fault) => `${path}: ${fault}`)),
    ...clashes(files),
  ]
  if (faults.length === 0) return appservicesOf(files.flatMap(({ appservice }) => appservice ?? []))
  const count = faults.length === 1 ? 'a fault' : `${faults.length} faults`
  throw new StartupError(
    `The registrations of application services (appservices.files) have ${count}:\n  ${faults.join('\n  ')}`,
  )
}

async function readOne(path: string, serverName: string): Promise<File> {
  let value: unknown
  try {
    value = Bun.YAML.parse(await readFile(path, 'utf8'))
  } catch (error) {
    const { message } = error as Error
    const isSyntax = error instanceof SyntaxError
    return {
      path,
      faults: [
        isSyntax
          ? `is not YAML: ${message.replace(/^YAML Parse error: /, '')}`
          : `cannot be read: ${message}`,
      ],
    }
  }
  const registration = readRegistration(value, serverName)
  return { path, faults: [], ...registration }
}

/** An application service is known by its `id` and its `as_token`. Spec: application-service-api/#registration */
function clashes(files: readonly File[]): string[] {
  return files.flatMap(({ path, appservice: one }, index) =>
    files.slice(0, index).flatMap(({ path: before, appservice: other }) => {
      if (!one || !other) return []
      return sharedKeys(one, other).map((key) => `${path}: ${key}: is that of ${before} too`)
    }),
  )
}
