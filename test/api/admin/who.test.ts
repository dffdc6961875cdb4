import { describe, expect, test } from 'bun:test'
import { ops } from '#api/index.ts'
import { testDatabase } from '#test/database.ts'
import { acting, openBridged } from '#test/api/client-server/bridge.ts'

const db = await testDatabase()
const home = await openBridged(db)

/** Every route of administrators, but for registration by a shared secret. */
const routes = ops.filter(
  ({ path, auth }) => /^\/_(synapse|laneway)\/admin\//.test(path) && auth !== 'none',
)

test('every route of administrators is declared to be theirs', () => {
  expect(routes.length).toBeGreaterThan(60)
  expect(routes.filter(({ auth }) => auth !== 'admin').map(({ path }) => path)).toEqual([])
  expect(routes.filter(({ admits }) => admits?.length).map(({ path }) => path)).toEqual([])
})

describe('an administrator’s route refuses', () => {
  const path = (text: string) => text.replace(/:\w+/g, 'x')
  const refusals = async (token: string | undefined, query = '') => {
    const found = new Map<string, number>()
    for (const route of routes) {
      const { status, body } = await home.client
        .as(token)
        .ask(route.method, `${path(route.path)}${query}`)
      const outcome = `${status} ${String(body?.errcode)}`
      found.set(outcome, (found.get(outcome) ?? 0) + 1)
    }
    return Object.fromEntries(found)
  }
  const all = (outcome: string) => ({ [outcome]: routes.length })

  test('whoever does not say who they are', async () => {
    expect(await refusals(undefined)).toEqual(all('401 M_MISSING_TOKEN'))
    expect(await refusals('made-up')).toEqual(all('401 M_UNKNOWN_TOKEN'))
  })

  test('a user who is no administrator', async () => {
    const { token } = await home.person('plain')
    expect(await refusals(token)).toEqual(all('403 M_FORBIDDEN'))
  })

  test('a guest', async () => {
    const open = home.under({ registration: { enabled: false, guests: true } })
    const { body } = await open.post('/register?kind=guest', {})
    // Whoever may not administrate is told so, or that they are a guest.
    expect(await refusals(body.access_token as string)).toEqual(all('403 M_FORBIDDEN'))
  })

  test('an administrator who is locked', async () => {
    const { userId, token } = await home.person('locked', { admin: true })
    await home.ctx.accounts.change(userId, { locked: true })
    expect(await refusals(token)).toEqual(all('401 M_USER_LOCKED'))
  })

  test('an application service, whomever it acts as', async () => {
    const userId = await home.ctx.accounts.register({ name: 'root', password: 'x', admin: true })
    expect(await refusals('irc-token')).toEqual(all('403 M_FORBIDDEN'))
    expect(await refusals('irc-token', acting(userId))).toEqual(all('403 M_FORBIDDEN'))
  })
})
