import { type Appservice, appserviceLogin, appservicesOf } from '#core/appservice.ts'
import { readRegistration } from '#core/appservice-registration.ts'
import { makeSenders } from '#engine/user/appservice-senders.ts'
import type { Answer, Client } from '#test/client.ts'
import type { TestDatabase } from '#test/database.ts'
import { Home } from './home.ts'

function registered(id: string, namespaces: object, more: object = {}): Appservice {
  const registration = readRegistration(
    {
      id,
      url: null,
      as_token: `${id}-token`,
      hs_token: `${id}-hs`,
      sender_localpart: `${id}bot`,
      namespaces,
      ...more,
    },
    'here.example',
  )
  if ('faults' in registration) throw new Error(registration.faults.join())
  return registration.appservice
}

/** Has a namespace for itself, and alice. */
export const irc = registered('irc', {
  users: [
    { regex: '@_irc_.*', exclusive: true },
    { regex: '@(alice|root)', exclusive: false },
  ],
  aliases: [{ regex: '#_irc_.*', exclusive: true }],
})
/** May act as the users of the other, but not make them. */
export const sms = registered(
  'sms',
  {
    users: [{ regex: '@_(sms|irc)_.*', exclusive: false }],
    aliases: [{ regex: '#_sms', exclusive: false }],
  },
  { rate_limited: false },
)
export const appservices = appservicesOf([irc, sms])

/** A home with both, where anybody may register. */
export async function openBridged(db: TestDatabase): Promise<Home> {
  const home = await Home.open(db, {
    appservices,
    config: { registration: { enabled: true, dummy: true } },
  })
  await makeSenders(home.ctx, appservices)
  return home
}

export const acting = (userId: string, more = '') => `?user_id=${encodeURIComponent(userId)}${more}`

export const told = ({ status, body }: Answer) => [status, body.errcode]

let count = 0
/** A new user of `irc`, made by it. */
export async function ghost(client: Client): Promise<string> {
  const { body } = await client.post('/register', {
    type: appserviceLogin,
    username: `_irc_ghost${++count}`,
    inhibit_login: true,
  })
  return body.user_id
}
