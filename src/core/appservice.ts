import { domainOf } from '#core/ids.ts'

/** One stretch of IDs; `regex` is bound to the beginning of an ID. */
export type Namespace = { readonly exclusive: boolean; readonly regex: RegExp }
export type NamespaceKind = 'users' | 'rooms' | 'aliases'

/**
 * An application service as the operator registered it: data, made once at the start and never changed.
 *
 * Spec: application-service-api/#registration
 */
export type Appservice = {
  readonly id: string
  /** Where it takes what is pushed to it; null if it wants nothing, or connects to us. */
  readonly url: string | null
  /** Whether it gets what is pushed to it over a connection that it makes: by its own word, or if it ever does. */
  readonly connects: 'always' | 'maybe' | 'never'
  /** What it shows us, and what we show it. */
  readonly asToken: string
  readonly hsToken: string
  /** The user that it is when it names nobody else. */
  readonly sender: string
  readonly namespaces: Readonly<Record<NamespaceKind, readonly Namespace[]>>
  /** Whether the users that it acts as are held to the budgets of callers; its sender never is. */
  readonly rateLimited: boolean
  /** Third-party networks that it answers for. */
  readonly protocols: readonly string[]
  /** v1.13+ */
  readonly receiveEphemeral: boolean
  /** MSC2409: the same, and messages to the devices of its users. */
  readonly pushEphemeral: boolean
  /** MSC3202: what concerns the encryption of its users. */
  readonly pushEncryption: boolean
}

/** Whether it is told who types, who is there, and how far users have read. */
export const takesEphemeral = ({ receiveEphemeral, pushEphemeral }: Appservice): boolean =>
  receiveEphemeral || pushEphemeral

/** Whether messages to the devices of its users are sent to it. */
export const takesToDevice = ({ pushEphemeral, pushEncryption }: Appservice): boolean =>
  pushEphemeral || pushEncryption

export type Appservices = {
  readonly all: readonly Appservice[]
  readonly byToken: ReadonlyMap<string, Appservice>
}

/** The registered application services, found by the token that they show. */
export const appservicesOf = (all: readonly Appservice[]): Appservices => ({
  all,
  byToken: new Map(all.map((each) => [each.asToken, each])),
})

/** How application services register and log in their users. */
export const appserviceLogin = 'm.login.application_service'

export const noAppservices: Appservices = appservicesOf([])

/** Whether an ID is in one of its namespaces. Only local users can be, and its sender always is. */
export const covers = (appservice: Appservice, kind: NamespaceKind, id: string): boolean =>
  has(appservice, kind, id, () => true)

/** Whether it keeps everybody else from making or removing an ID. */
const reserves = (appservice: Appservice, kind: NamespaceKind, id: string): boolean =>
  has(appservice, kind, id, ({ exclusive }) => exclusive)

function has(
  { sender, namespaces }: Appservice,
  kind: NamespaceKind,
  id: string,
  counts: (namespace: Namespace) => boolean,
): boolean {
  if (kind === 'users') {
    if (id === sender) return true
    if (domainOf(id) !== domainOf(sender)) return false
  }
  return namespaces[kind].some((namespace) => counts(namespace) && namespace.regex.test(id))
}

/**
 * Why `by` (an application service, or else a user) may not make or remove this user or alias; undefined
 * if it may. An application service keeps to its namespaces, and everybody out of the exclusive ones of
 * others.
 *
 * Spec: application-service-api/#server-admin-style-permissions
 */
export function claimFault(
  { all }: Appservices,
  by: Appservice | undefined,
  kind: 'users' | 'aliases',
  id: string,
): string | undefined {
  if (by && !covers(by, kind, id))
    return `${id} is in no namespace of the application service ${by.id}`
  const holder = all.find((each) => each !== by && reserves(each, kind, id))
  return holder && `${id} is reserved for an application service`
}
