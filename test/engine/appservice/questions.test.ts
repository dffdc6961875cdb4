import { describe, expect, test } from 'bun:test'
import { type LinkAnswer, type Question, LinkError } from '#engine/appservice/link.ts'
import { HttpLink } from '#engine/appservice/http-link.ts'
import { orMade } from '#engine/appservice/or-made.ts'
import { Questions } from '#engine/appservice/questions.ts'
import { MatrixError, notFound } from '#core/error.ts'
import { registered } from './bridging.ts'

type Answers = (question: Question) => LinkAnswer | Promise<LinkAnswer>

/** An application service that answers as a test says. */
function asked(id: string, answers: Answers, more: object = {}) {
  const questions: string[] = []
  const link = {
    isUp: true,
    deliver: async () => undefined,
    ask: async (question: Question) => {
      questions.push(question.path + (question.query ?? ''))
      return answers(question)
    },
    stop: () => {},
  }
  const appservice = registered(id, 'http://127.0.0.1:1', more)
  return { appservice, link, questions, isAway: () => false }
}

const ok = (body: unknown = {}): LinkAnswer => ({ status: 200, body: JSON.stringify(body) })
const unknown: LinkAnswer = { status: 404, body: '{}' }

describe('whoever is unknown here', () => {
  test('is asked for once, by all who want to know, of those whose namespaces cover them', async () => {
    const answer = Promise.withResolvers<LinkAnswer>()
    const irc = asked('irc', () => answer.promise)
    const sms = asked('sms', () => ok())
    const questions = new Questions([irc, sms])
    const all = Array.from({ length: 5 }, () => questions.makesUser('@_irc_new:here.example'))
    answer.resolve(ok())
    expect(await Promise.all(all)).toEqual([true, true, true, true, true])
    expect(irc.questions).toEqual(['/users/%40_irc_new%3Ahere.example'])
    expect(sms.questions).toEqual([])
    for (const userId of ['@_irc_new:far.example', '@bob:here.example', '@ircbot:here.example'])
      expect(await questions.makesUser(userId)).toBe(false)
    expect(irc.questions).toHaveLength(1)
  })

  test('stays unknown when nobody makes them, and is not asked for again at once', async () => {
    const irc = asked('irc', () => unknown)
    const questions = new Questions([irc])
    for (let count = 0; count < 3; count++)
      expect(await questions.makesUser('@_irc_no:here.example')).toBe(false)
    expect(irc.questions).toHaveLength(1)
  })

  test('is not known to be unknown where one does not answer: it is asked again, and then said so', async () => {
    let isThere = false
    const irc = asked('irc', () => {
      if (isThere) return ok()
      throw new LinkError('It is away', true)
    })
    const questions = new Questions([irc])
    const outcome = () =>
      questions.makesUser('@_irc_a:here.example').catch((error: unknown) => error)
    expect(await outcome()).toMatchObject({ status: 408, errcode: 'M_UNKNOWN' })
    expect(irc.questions).toHaveLength(3)
    // For a moment nobody else waits for it.
    expect(await outcome()).toMatchObject({ status: 408 })
    expect(irc.questions).toHaveLength(3)
    isThere = true
    expect(await questions.makesUser('@_irc_b:here.example')).toBe(true)
  })

  test('is made by one that answers, whoever else does not', async () => {
    const both = { namespaces: { users: [{ regex: '@_both_.*', exclusive: false }] } }
    const away = asked(
      'away',
      () => {
        throw new LinkError('It is away', true)
      },
      both,
    )
    const questions = new Questions([away, asked('irc', () => ok(), both)])
    expect(await questions.makesUser('@_both_a:here.example')).toBe(true)
  })

  test('is not asked for of one that was silent lately, until it is back', async () => {
    let isAway = true
    const irc = { ...asked('irc', () => ok()), isAway: () => isAway }
    const questions = new Questions([irc])
    const outcome = () =>
      questions.makesUser('@_irc_b:here.example').catch((error: unknown) => error)
    expect(await outcome()).toMatchObject({ status: 408 })
    expect(irc.questions).toEqual([])
    isAway = false
    expect(await outcome()).toBe(true)
  })

  test('is unknown where its application service has no address, and never connected', async () => {
    const bot = asked('irc', () => ok())
    const { appservice } = asked('irc', () => ok(), { url: null })
    const questions = new Questions([
      { ...bot, appservice, link: { ...bot.link, isUp: false }, isAway: () => true },
    ])
    expect(await questions.makesUser('@_irc_c:here.example')).toBe(false)
    expect(bot.questions).toEqual([])
  })

  test('is looked for again after they were made, and only then', async () => {
    const seen: string[] = []
    let isMade = false
    const look = async () => {
      seen.push('look')
      if (!isMade) throw notFound('nobody')
      return 'somebody'
    }
    const make = async () => {
      seen.push('make')
      return (isMade = true)
    }
    expect(await orMade(look, make)).toBe('somebody')
    expect(await orMade(look, make)).toBe('somebody')
    expect(seen).toEqual(['look', 'make', 'look', 'look'])
    isMade = false
    const refused = await orMade(look, async () => false).catch((error: unknown) => error)
    expect(refused).toMatchObject({ status: 404 })
    const broken = await orMade(
      async () => {
        throw new MatrixError(500, 'M_UNKNOWN', 'broken')
      },
      async () => {
        throw new Error('nobody is asked')
      },
    ).catch((error: unknown) => error)
    expect(broken).toMatchObject({ status: 500 })
  })
})

describe('a network', () => {
  const protocol = (networkId: string) => ({
    user_fields: ['nick'],
    location_fields: [],
    icon: '',
    field_types: {},
    instances: [{ desc: networkId, network_id: networkId, fields: {} }, { network_id: 'broken' }],
  })
  const irc = { protocols: ['irc'] }

  test('is what all who answer for it tell, each of its own instances', async () => {
    const one = asked('one', () => ok(protocol('libera')), irc)
    const two = asked('two', () => ok(protocol('oftc')), irc)
    const odd = asked('odd', () => ok({ instances: [] }), irc)
    const questions = new Questions([one, two, odd, asked('none', () => ok())])
    const told = await questions.protocols()
    expect(Object.keys(told)).toEqual(['irc'])
    expect((told['irc'] as any).instances).toEqual([
      { desc: 'libera', network_id: 'libera', fields: {}, instance_id: 'one|libera' },
      { desc: 'oftc', network_id: 'oftc', fields: {}, instance_id: 'two|oftc' },
    ])
    await questions.protocol('irc')
    expect(one.questions).toEqual(['/thirdparty/protocol/irc'])
    expect(await questions.protocol('xmpp')).toBeUndefined()
  })

  test('is looked into with the fields that were asked for; what is broken is left out', async () => {
    const user = { userid: '@_one_x:here.example', protocol: 'irc', fields: { nick: 'x' } }
    const one = asked('one', () => ok([user, { userid: 7 }, 'text']), irc)
    const away = asked('away', () => ({ status: 500, body: 'no' }), irc)
    const questions = new Questions([one, away])
    const fields = new URLSearchParams({ nick: 'x y' })
    expect(await questions.inNetwork('user', 'irc', fields)).toEqual([user])
    expect(one.questions).toEqual(['/thirdparty/user/irc?nick=x+y'])
    expect(await questions.inNetwork('user', 'xmpp', fields)).toBeUndefined()
    expect(await questions.behind('user', '@_one_x:here.example')).toEqual([user])
    expect(one.questions.at(-1)).toBe('/thirdparty/user?userid=%40_one_x%3Ahere.example')
    expect(await questions.behind('user', '@other:here.example')).toEqual([])
  })
})

describe('the paths of older application services', () => {
  /** What answers paths that begin so. */
  const serving = (prefix: string) => {
    const paths: string[] = []
    let now = 0
    const link = new HttpLink(registered('irc', null), 'http://bridge/base/', {
      clock: () => now,
      deadlineMs: 1_000,
      ask: async ({ url }) => {
        const path = url.slice('http://bridge/base'.length)
        paths.push(path)
        return path.startsWith(prefix) ? ok() : unknown
      },
    })
    return { link, paths, later: () => (now += 4_000_000) }
  }

  test('are tried when the newer ones are not known, and the newer ones again later', async () => {
    const { link, paths, later } = serving('/transactions')
    expect(await link.deliver('1', '{}')).toBeUndefined()
    expect(await link.deliver('2', '{}')).toBeUndefined()
    later()
    expect(await link.deliver('3', '{}')).toBeUndefined()
    expect(paths).toEqual([
      '/_matrix/app/v1/transactions/1',
      '/transactions/1',
      '/transactions/2',
      '/_matrix/app/v1/transactions/3',
      '/transactions/3',
    ])
  })

  test('are not tried where the newer ones were answered', async () => {
    const { link, paths } = serving('/_matrix/app/v1/transactions')
    await link.deliver('1', '{}')
    const question = { path: '/users/a', legacyPath: '/users/a', deadlineMs: 1_000 }
    expect((await link.ask({ method: 'GET', ...question })).status).toBe(404)
    expect(paths).toEqual(['/_matrix/app/v1/transactions/1', '/_matrix/app/v1/users/a'])
  })
})
