import { expect, test } from 'bun:test'
import { domainOf } from '#core/ids.ts'
import { signaturesOf } from '#core/signing.ts'
import { remoteJoin } from '#engine/room/fetch/join.ts'
import { failureOf, first, scene, second } from '#test/engine/room/fetch/join-scene.ts'

/** Spec: server-server-api/#restricted-rooms */
const restricted = { join_rule: 'restricted', allow: [] }
const refuse = (errcode: string, status = 400) => ({ status, body: { errcode, error: 'because' } })

test.each([
  ['make_join', 'M_UNABLE_TO_GRANT_JOIN', 400],
  ['make_join', 'M_UNABLE_TO_AUTHORISE_JOIN', 400],
  ['send_join', 'M_UNABLE_TO_GRANT_JOIN', 400],
  ['send_join', 'M_UNABLE_TO_AUTHORISE_JOIN', 400],
  // One that sees other rooms, or thinks otherwise of the user, is not the only one to ask.
  ['make_join', 'M_FORBIDDEN', 403],
])(
  'a restricted join that one server answers to %s with %s is authorised by the next',
  async (call, errcode, status) => {
    const { room, join, residents, signed } = scene('11', restricted)
    // A user of the other server is there who may authorise as well.
    const colleague = second.user('creator')
    const membership = (sender: string, membership: string) =>
      room.send({
        type: 'm.room.member',
        sender,
        stateKey: colleague,
        content: { membership },
      })
    membership(room.creator, 'invite')
    membership(colleague, 'join')
    residents.lie = ({ name, server }, answer) =>
      name === call && server === first.name ? refuse(errcode, status) : answer
    const joined = await remoteJoin(join)
    const authoriser = joined.join.content['join_authorised_via_users_server'] as string
    expect(domainOf(authoriser)).toBe(second.name)
    expect(signaturesOf(joined.join.pdu, second.name)).toHaveLength(1)
    expect(signaturesOf(joined.join.pdu, first.name)).toEqual([])
    expect(joined.server).toBe(second.name)
    // What was signed for the one server is not handed in at the other.
    expect(signed).toHaveLength(call === 'send_join' ? 2 : 1)
    expect(residents.asked('make_join').map(({ server }) => server)).toEqual([
      first.name,
      second.name,
    ])
  },
)

test.each(['M_UNABLE_TO_GRANT_JOIN', 'M_UNABLE_TO_AUTHORISE_JOIN'])(
  'if every server answers %s, so do we',
  async (errcode) => {
    const { join, residents } = scene('11', restricted)
    residents.lie = () => refuse(errcode)
    expect(await failureOf(join)).toMatchObject({ status: 400, errcode })
    expect(residents.asked('make_join')).toHaveLength(2)
  },
)

test('one that knows that the user may not is believed before those that cannot tell', async () => {
  const { join, residents } = scene('11', restricted)
  residents.lie = ({ server }) =>
    server === first.name ? refuse('M_UNABLE_TO_AUTHORISE_JOIN') : refuse('M_FORBIDDEN', 403)
  expect(await failureOf(join)).toMatchObject({ status: 403, errcode: 'M_FORBIDDEN' })
})

test.each(['M_INVALID_PARAM', 'M_MISSING_PARAM', 'M_BAD_JSON'])(
  '%s of another server is no fault of who wants to join',
  async (errcode) => {
    const { join, residents } = scene('11')
    for (const call of ['make_join', 'send_join']) {
      residents.lie = ({ name }, answer) => (name === call ? refuse(errcode) : answer)
      const { status } = await failureOf(join)
      expect({ call, status }).toEqual({ call, status: 502 })
    }
  },
)
