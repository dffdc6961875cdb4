import type { AccessTokens } from '#engine/user/access-tokens.ts'
import { Accounts } from '#engine/user/accounts.ts'
import { EmailValidations } from '#engine/user/email-validations.ts'
import { Mail } from '#engine/user/mail.ts'
import type { Users } from '#engine/user/protocol.ts'
import { Uia } from '#engine/user/uia/uia.ts'
import type { Appservices } from '#core/appservice.ts'
import type { Config } from '#src/config.ts'
import type { Pool } from '#store/db.ts'

type Parts = {
  config: Config
  sql: Pool
  users: Users
  tokens: AccessTokens
  appservices: Appservices
  clock: () => number
  mail: Mail | undefined
}

/** Accounts, and how people prove that they are theirs. */
export function makeAccounts({ config, mail, ...parts }: Parts) {
  const { sessions, passwords, registration } = config
  const serverName = config.server_name
  const { sql, clock, tokens } = parts
  const accounts = new Accounts({
    ...parts,
    serverName,
    cost: { memoryKib: passwords.memory_kib, iterations: passwords.iterations },
    lifetimes: {
      refreshableMs: sessions.refreshable_token_seconds * 1000,
      plainMs: sessions.token_seconds * 1000,
    },
  })
  const emails = new EmailValidations({
    sql,
    mail,
    serverName,
    clock,
    pageUrl: `${(config.public_base_url ?? '').replace(/\/+$/, '')}/_laneway/client/email`,
  })
  const uia = new Uia({
    sql,
    accounts,
    emails,
    clock,
    tokens,
    policies: JSON.stringify(policiesOf(registration.policies)),
    lifetimeMs: sessions.authentication_seconds * 1000,
    graceMs: sessions.reauthentication_grace_seconds * 1000,
  })
  return { accounts, emails, uia }
}

/** Sends e-mail if the operator says by which server. */
export async function makeMail(
  { email }: Config,
  onFault: (error: unknown) => void,
): Promise<Mail | undefined> {
  const { host, port, security, user, password, from, extra_ca: files } = email
  if (host === undefined || from === undefined) return undefined
  return new Mail({
    host,
    port,
    security,
    from,
    onFault,
    ...(user !== undefined && { user }),
    ...(password !== undefined && { password }),
    ...(files.length > 0 && { ca: await Promise.all(files.map((file) => Bun.file(file).text())) }),
  })
}

/** Spec: client-server-api/#terms-of-service-at-registration */
function policiesOf(entries: Config['registration']['policies']): object {
  const policies: Record<string, Record<string, unknown>> = {}
  for (const { id, version, language, name, url } of entries)
    policies[id] = { ...policies[id], version, [language]: { name, url } }
  return policies
}
