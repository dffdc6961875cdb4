import { describe, expect, test } from 'bun:test'
import type { Answer, Client } from '#test/client.ts'
import { testDatabase } from '#test/database.ts'
import { Home } from './home.ts'
import { Inbox } from './inbox.ts'

const db = await testDatabase()
const inbox = await Inbox.open()
const home = await Home.open(db, { mail: inbox.mail })
const admin = (await home.person('admin', { admin: true })).client
const tokens = '/_synapse/admin/v1/registration_tokens'
const validity = '/_matrix/client/v1/register/m.login.registration_token/validity'

const outcome = ({ status, body }: Answer) => [status, body.errcode]
let names = 0
const someone = () => ({ username: `someone${++names}`, password: 'p' })

describe('registration by token', () => {
  const client = home.under({ registration: { enabled: true, tokens: true } })
  const withToken = (token: string, body: object = someone()) =>
    client.post('/register', { ...body, auth: { type: 'm.login.registration_token', token } })
  const made = async (body: object): Promise<string> =>
    (await admin.post(`${tokens}/new`, body)).body.token
  const isValid = async (token: string) =>
    (await client.get(`${validity}?token=${encodeURIComponent(token)}`)).body.valid

  test('asks for one, and takes one that an administrator made', async () => {
    const { status, body } = await client.post('/register', someone())
    expect([status, body.flows]).toEqual([401, [{ stages: ['m.login.registration_token'] }]])
    const token = await made({ uses_allowed: 1 })
    expect(await isValid(token)).toBe(true)
    expect((await withToken(token)).status).toBe(200)
    expect(await isValid(token)).toBe(false)
    expect(outcome(await withToken(token))).toEqual([401, 'M_UNAUTHORIZED'])
  })

  test('takes none that is unknown, too old, used up or no token', async () => {
    const old = await made({ expiry_time: home.now + 1000 })
    home.now += 1000
    for (const token of [old, 'unknown', '', 'a b', 'x'.repeat(65), 'ä', '\0']) {
      expect(outcome(await withToken(token))).toEqual([401, 'M_UNAUTHORIZED'])
      expect(await isValid(token)).toBe(false)
    }
    const none = await client.post('/register', {
      ...someone(),
      auth: { type: 'm.login.registration_token' },
    })
    expect(outcome(none)).toEqual([400, 'M_MISSING_PARAM'])
  })

  test('gives no more accounts than a token allows, to however many at once', async () => {
    const token = await made({ uses_allowed: 3 })
    const answers = await Promise.all(Array.from({ length: 8 }, () => withToken(token)))
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(3)
    const { body } = await admin.get(`${tokens}/${token}`)
    expect(body).toMatchObject({ completed: 3, pending: 0, uses_allowed: 3 })
  })

  test('holds a use while somebody is at it, and gives it back when that comes to nothing', async () => {
    const both = home.under({
      registration: { enabled: true, tokens: true, policies: [policy] },
    })
    const token = await made({ uses_allowed: 1 })
    const begun = await both.post('/register', {
      ...someone(),
      auth: { type: 'm.login.registration_token', token },
    })
    expect(begun.body.completed).toEqual(['m.login.registration_token'])
    expect((await admin.get(`${tokens}/${token}`)).body).toMatchObject({ pending: 1, completed: 0 })
    expect(outcome(await withToken(token))).toEqual([401, 'M_UNAUTHORIZED'])
    home.now += 15 * 60_000
    expect((await withToken(token)).status).toBe(200)
  })

  test('gives a use back when the name is gone in the end', async () => {
    const token = await made({ uses_allowed: 2 })
    const same = { username: `same${++names}`, password: 'p' }
    const answers = await Promise.all([withToken(token, same), withToken(token, same)])
    expect(answers.map(({ status }) => status).sort((a, b) => a - b)).toEqual([200, 400])
    expect((await admin.get(`${tokens}/${token}`)).body).toMatchObject({ completed: 1, pending: 0 })
  })

  test('tells of no token where registration is closed', async () => {
    const closed = await home.client.get(`${validity}?token=x`)
    expect(outcome(closed)).toEqual([403, 'M_FORBIDDEN'])
  })
})

const policy = {
  id: 'privacy',
  version: '2',
  language: 'en',
  name: 'Privacy',
  url: 'https://example.org/p',
}

describe('registration with policies', () => {
  const registration = { enabled: true, dummy: true, policies: [policy] }
  const client = home.under({ registration })

  test('shows them, and remembers what was agreed to', async () => {
    const who = someone()
    const { body } = await client.post('/register', who)
    expect(body.flows).toEqual([{ stages: ['m.login.terms'] }])
    const policies = { privacy: { version: '2', en: { name: 'Privacy', url: policy.url } } }
    expect(body.params).toEqual({ 'm.login.terms': { policies } })
    const auth = { type: 'm.login.terms', session: body.session }
    const made = await client.post('/register', { ...who, auth })
    const [row] = await db.pool`select agreed from users where user_id = ${made.body.user_id}`
    expect(JSON.parse(row!['agreed'] as string)).toEqual(policies)
  })

  test('takes the agreement from a page, too', async () => {
    const who = someone()
    const { session } = (await client.post('/register', who)).body
    const path = `/auth/m.login.terms/fallback/web?session=${session}`
    expect((await client.post(path)).status).toBe(200)
    const done = await client.post('/register', { ...who, auth: { session } })
    expect(done.status).toBe(200)
    expect(outcome(await client.post(path))).toEqual([404, 'M_NOT_FOUND'])
    const others = ['m.login.password', 'm.login.email.identity', 'constructor']
    for (const type of others) {
      const answer = await client.post(`/auth/${type}/fallback/web?session=${session}`)
      expect(outcome(answer)).toEqual([404, 'M_NOT_FOUND'])
    }
  })
})

describe('registration of several stages', () => {
  const config = { enabled: true, tokens: true, policies: [policy] }
  const client = home.under({ registration: config })
  const terms = 'm.login.terms'
  const byToken = 'm.login.registration_token'

  test('wants all of them in one session, in any order, and uses it up', async () => {
    const { body: made } = await admin.post(`${tokens}/new`, { uses_allowed: 5 })
    const who = someone()
    const ask = async (auth: object, as: object = who) => client.post('/register', { ...as, auth })
    const [one, two] = [
      await client.post('/register', who),
      await client.post('/register', someone()),
    ]
    expect(one.body.flows.map((flow: any) => flow.stages.toSorted())).toEqual([
      [byToken, terms].toSorted(),
    ])
    const [first, second] = [one.body.session, two.body.session]
    // Neither the last stage alone nor both in two sessions are enough, nor one of them twice.
    for (let times = 0; times < 2; times++) {
      const skipped = await ask({ type: terms, session: first })
      expect([skipped.status, skipped.body.completed]).toEqual([401, [terms]])
    }
    const apart = await ask({ type: byToken, token: made.token, session: second })
    expect([apart.status, apart.body.completed]).toEqual([401, [byToken]])
    for (const session of [first, second]) expect((await ask({ session })).status).toBe(401)
    // A stage that is none here, and one that is asked for elsewhere, complete nothing.
    for (const type of ['m.login.dummy', 'm.login.password', '__proto__'])
      expect(outcome(await ask({ type, session: first }))).toEqual([401, 'M_UNAUTHORIZED'])
    expect((await ask({ type: byToken, token: made.token, session: first })).status).toBe(200)
    // Whoever finished makes one account.
    const replayed = await ask({ session: first }, someone())
    expect([replayed.status, replayed.body.completed]).toEqual([401, undefined])
    const { body } = await admin.get(`${tokens}/${made.token}`)
    expect(body).toMatchObject({ completed: 1, pending: 1 })
  })
})

describe('registration by e-mail', () => {
  const client = home.under({
    registration: { enabled: true, email: true },
    public_base_url: 'https://here.example',
  })
  const ask = (email: string, more: object = {}, by: Client = client) =>
    by.post('/register/email/requestToken', {
      client_secret: 'secret',
      email,
      send_attempt: 1,
      ...more,
    })
  const creds = (sid: string, session?: string, secret = 'secret') => ({
    type: 'm.login.email.identity',
    threepid_creds: { sid, client_secret: secret },
    ...(session !== undefined && { session }),
  })

  test('sends a letter whose link must be confirmed, and gives the account its address', async () => {
    const who = someone()
    const { session, flows } = (await client.post('/register', who)).body
    expect(flows).toEqual([{ stages: ['m.login.email.identity'] }])
    const { sid } = (await ask('New@Example.org')).body
    const link = await inbox.nextLink()
    expect(link.origin + link.pathname).toBe('https://here.example/_laneway/client/email')
    const auth = creds(sid, session)
    const early = await client.post('/register', { ...who, auth })
    expect(outcome(early)).toEqual([401, 'M_UNAUTHORIZED'])
    expect(early.body.session).toBe(session)
    expect((await raw(client, 'GET', link)).status).toBe(200)
    // To look at the page confirms nothing.
    expect((await client.post('/register', { ...who, auth })).status).toBe(401)
    expect((await raw(client, 'POST', link)).status).toBe(200)
    const made = await client.post('/register', { ...who, auth })
    expect(made.status).toBe(200)
    const contacts = await client.as(made.body.access_token).get('/account/3pid')
    expect(contacts.body.threepids).toMatchObject([{ medium: 'email', address: 'new@example.org' }])
    // The address is used up: it proves nothing for a second account.
    const second = await client.post('/register', { ...someone(), auth: creds(sid) })
    expect(outcome(second)).toEqual([401, 'M_UNAUTHORIZED'])
  })

  test('answers the same for an address that has an account, and only the letter tells', async () => {
    const person = await home.person('owner')
    const email = { medium: 'email', address: 'taken@example.org', validatedAt: 1, addedAt: 1 }
    await home.ctx.users.call('addThreepid', person.userId, email)
    const [free, taken] = [await ask('free@example.org'), await ask('taken@example.org')]
    expect([free.status, Object.keys(free.body)]).toEqual([taken.status, Object.keys(taken.body)])
    expect(free.body.sid).toHaveLength(taken.body.sid.length)
    const letters = [await inbox.next(), await inbox.next()]
    const told = letters.find(({ to }) => to[0] === 'taken@example.org')!
    expect(told.text).toContain('belongs to an account')
    expect(told.text).not.toContain('https://')
    const early = await client.post('/register', { ...someone(), auth: creds(taken.body.sid) })
    const other = await client.post('/register', { ...someone(), auth: creds(free.body.sid) })
    expect([outcome(early), early.body.error]).toEqual([outcome(other), other.body.error])
  })

  test('sends again only for a later attempt, and the older link is no good then', async () => {
    const one = await ask('again@example.org')
    const link = await inbox.nextLink()
    const repeated = await ask('again@example.org')
    expect(repeated.body.sid).toBe(one.body.sid)
    expect(inbox.received).toHaveLength(0)
    await ask('again@example.org', { send_attempt: 2 })
    const newer = await inbox.nextLink()
    expect((await raw(client, 'POST', link)).status).toBe(400)
    expect((await raw(client, 'POST', newer)).status).toBe(200)
  })

  test('takes no token but the right one, and not after many wrong ones or an hour', async () => {
    await ask('guess@example.org')
    const link = await inbox.nextLink()
    const wrong = new URL(link)
    wrong.searchParams.set('token', 'x'.repeat(32))
    for (let i = 0; i < 10; i++) expect((await raw(client, 'POST', wrong)).status).toBe(400)
    expect((await raw(client, 'POST', link)).status).toBe(400)
    await ask('late@example.org')
    const late = await inbox.nextLink()
    home.now += 3600_000
    expect((await raw(client, 'POST', late)).status).toBe(400)
    expect((await raw(client, 'GET', late)).status).toBe(400)
  })

  test('refuses what is no address, no secret and no link (CVE-2021-21393, CVE-2021-21394)', async () => {
    const faults: [string, object][] = [
      ['no address', {}],
      ['a@b@c', {}],
      ['two@example.org,other@example.org', {}],
      ['a@example.org\r\nBcc: b@example.org', {}],
      [`${'x'.repeat(250)}@example.org`, {}],
      ['a@example.org', { client_secret: 'no spaces here' }],
      ['a@example.org', { client_secret: '' }],
      ['a@example.org', { next_link: 'javascript:alert(1)' }],
    ]
    for (const [email, more] of faults)
      expect(outcome(await ask(email, more))).toEqual([400, 'M_INVALID_PARAM'])
    expect(inbox.received).toHaveLength(0)
  })

  test('says so when no letter can be sent, whoever it was for', async () => {
    inbox.refusal = new Error('no')
    expect(outcome(await ask('free2@example.org'))).toEqual([502, 'M_UNKNOWN'])
    expect(outcome(await ask('taken@example.org', { client_secret: 's2' }))).toEqual([
      502,
      'M_UNKNOWN',
    ])
    inbox.refusal = undefined
    expect(inbox.faults.length).toBeGreaterThan(0)
  })

  test('is refused where registration is closed, and for phone numbers', async () => {
    expect(outcome(await ask('a@example.org', {}, home.client))).toEqual([403, 'M_FORBIDDEN'])
    const phone = { client_secret: 's', country: 'GB', phone_number: '1', send_attempt: 1 }
    for (const path of ['/register', '/account/password', '/account/3pid']) {
      const answer = await client.post(`${path}/msisdn/requestToken`, phone)
      expect(outcome(answer)).toEqual([400, 'M_THREEPID_MEDIUM_NOT_SUPPORTED'])
    }
  })
})

/** A page is no JSON. */
async function raw(client: Client, method: string, link: URL): Promise<{ status: number }> {
  const page = await client.page(method, link.pathname + link.search)
  expect(page.headers.get('content-type')).toStartWith('text/html')
  expect(page.headers.get('content-security-policy')).toContain("frame-ancestors 'none'")
  return page
}
