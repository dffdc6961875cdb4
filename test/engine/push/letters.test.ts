import { describe, expect, test } from 'bun:test'
import { pushFacts } from '#core/push/facts.ts'
import { Home, type Person } from '#test/api/client-server/home.ts'
import { Inbox } from '#test/api/client-server/inbox.ts'
import { testDatabase } from '#test/database.ts'
import { Pushing } from './pushing.ts'

const db = await testDatabase()
const inbox = await Inbox.open()
const home = await Home.open(db, {
  mail: inbox.mail,
  config: { email: { host: 'smtp.here.example', from: 'Test <matrix@here.example>' } },
})
const delayMs = 600_000
const pushing = await Pushing.start(home, {
  delayMs,
  stopUrl: 'https://here.example/_laneway/client/letters',
})
const minute = 60_000
const notify = { pushFlags: pushFacts.notify }

const addPusher = (who: Person, pushkey: string, more: object = {}) =>
  who.client.post('/pushers/set', {
    kind: 'email',
    app_id: 'm.email',
    pushkey,
    app_display_name: 'E-mail',
    device_display_name: pushkey,
    lang: 'en',
    data: {},
    ...more,
  })

/** Two people in a room; the first one gets letters. */
async function scene() {
  const [alice, bob] = [await home.person('alice'), await home.person('bob')]
  const address = `${alice.userId.slice(1).split(':')[0]}@example.org`
  await home.ctx.users.call('addThreepid', alice.userId, {
    medium: 'email',
    address,
    validatedAt: home.now,
    addedAt: home.now,
  })
  const room = await home.story.room(alice.userId)
  await room.member(bob.userId, 'join', { content: { displayname: 'Bob' } })
  expect((await addPusher(alice, address)).status).toBe(200)
  return { alice, bob, room, address }
}

/** What is sent once all that happened is queued, after some time. */
async function lettersAfter(ms: number) {
  await pushing.followed()
  home.now += ms
  await pushing.letters!.look()
  return inbox.received.splice(0).map((letter) => ({ ...letter, text: decoded(letter.text) }))
}

/** Of each part: as it was written. */
const decoded = (text: string) =>
  text
    .replace(/=\r\n/g, '')
    .replace(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)))

describe('a letter of what is unread', () => {
  test('has all that waited for long enough, as text and as HTML, and says how to end it (CVE-2021-21333)', async () => {
    const { alice, bob, room, address } = await scene()
    await room.state(bob.userId, 'm.room.name', '', { name: 'Den <b>\r\nBcc: x@example.org' })
    await room.send(bob.userId, 'hello <i>', notify)
    await room.tell(
      bob.userId,
      'm.room.encrypted',
      { algorithm: 'x', ciphertext: 'gibberish' },
      notify,
    )
    expect(await lettersAfter(delayMs - 1)).toEqual([])
    const letters = await lettersAfter(1)
    expect(letters).toHaveLength(1)
    const [{ to, subject, text }] = letters as [(typeof letters)[0]]
    expect(to).toEqual([address])
    expect(subject).toBe('2 unread messages in Den <b> Bcc: x@example.org')
    expect(text).toContain(`For ${alice.userId}`)
    expect(text).toContain('Bob: hello <i>')
    expect(text).toContain('Bob: (encrypted)')
    expect(text).toContain('<b>Bob</b>: hello &lt;i&gt;')
    expect(text).not.toContain('gibberish')
    expect(text).toContain('https://here.example/_laneway/client/letters?pusher=')
    expect(await lettersAfter(60 * minute)).toEqual([])
  })

  test('is not sent of what was read meanwhile', async () => {
    const { alice, bob, room } = await scene()
    const { eventId } = await room.send(bob.userId, 'hello', notify)
    await alice.client.post(
      `/rooms/${encodeURIComponent(room.roomId)}/receipt/m.read/${encodeURIComponent(eventId)}`,
      {},
    )
    expect(await lettersAfter(delayMs)).toEqual([])
    expect(await pushing.queued(alice)).toBe(0)
  })

  test('comes less and less often of a room that is never read, and of another at once', async () => {
    const { alice, bob, room } = await scene()
    const other = await home.story.room(alice.userId)
    await other.member(bob.userId, 'join')
    await room.send(bob.userId, 'first', notify)
    expect(await lettersAfter(delayMs)).toHaveLength(1)
    await room.send(bob.userId, 'second', notify)
    expect(await lettersAfter(delayMs)).toHaveLength(1)
    // A day of quiet now.
    await room.send(bob.userId, 'third', notify)
    expect(await lettersAfter(23 * 60 * minute)).toEqual([])
    await other.send(bob.userId, 'elsewhere', notify)
    const [letter] = await lettersAfter(delayMs)
    expect(letter!.text).toContain('elsewhere')
    expect(letter!.text).not.toContain('third')
    const [late] = await lettersAfter(60 * minute)
    expect(late!.text).toContain('third')
  })

  test('tells of several rooms together, and of an invite', async () => {
    const { alice, bob, room } = await scene()
    const other = await home.story.room(bob.userId)
    await other.state(bob.userId, 'm.room.name', '', { name: 'Cellar' })
    await other.member(alice.userId, 'invite', { by: bob.userId })
    await room.send(bob.userId, 'hello', notify)
    const letters = await lettersAfter(delayMs)
    expect(letters.map(({ subject }) => subject)).toEqual(['2 unread messages in 2 rooms'])
    expect(letters[0]!.text).toContain('Cellar')
    expect(letters[0]!.text).toContain('invites you')
  })

  test('that the SMTP server refuses is tried again later, and is lost after days alone', async () => {
    const { alice, bob, room } = await scene()
    await room.send(bob.userId, 'hello', notify)
    inbox.refusal = new Error('Not now')
    expect(await lettersAfter(delayMs)).toEqual([])
    inbox.refusal = undefined
    expect(await lettersAfter(0)).toEqual([])
    expect(await lettersAfter(60 * minute)).toHaveLength(1)
    await room.send(bob.userId, 'again', notify)
    await pushing.followed()
    inbox.refusal = new Error('Never')
    expect(await lettersAfter(60 * minute)).toEqual([])
    inbox.refusal = undefined
    expect(await lettersAfter(4 * 24 * 60 * minute)).toEqual([])
    expect(await pushing.queued(alice)).toBe(0)
  })

  test('comes no more once the address, or the pusher, is gone', async () => {
    const { alice, bob, room, address } = await scene()
    await room.send(bob.userId, 'hello', notify)
    await pushing.followed()
    await home.ctx.users.call('removeThreepid', alice.userId, 'email', address)
    expect((await alice.client.get('/pushers')).body).toEqual({ pushers: [] })
    expect(await lettersAfter(delayMs)).toEqual([])
  })

  test('has a link by which a person, or their program, ends them', async () => {
    const { alice, bob, room } = await scene()
    await room.send(bob.userId, 'hello', notify)
    const [letter] = await lettersAfter(delayMs)
    const [link] = /https:\/\/here\.example\/\S+?token=[\w-]+/.exec(letter!.text)!
    const { pathname, search } = new URL(link)
    const path = pathname + search
    expect((await home.client.page('GET', path)).status).toBe(200)
    // Looking at it ends nothing.
    expect((await alice.client.get('/pushers')).body.pushers).toHaveLength(1)
    const wrong = path.replace(/token=.*/, 'token=guess')
    expect((await home.client.page('POST', wrong)).status).toBe(404)
    expect((await alice.client.get('/pushers')).body.pushers).toHaveLength(1)
    expect((await home.client.page('POST', path)).status).toBe(200)
    expect((await alice.client.get('/pushers')).body).toEqual({ pushers: [] })
    expect((await home.client.page('POST', path)).status).toBe(404)
  })
})

test('nobody has letters sent to an address that is not theirs, or from another app', async () => {
  const { alice, bob, address } = await scene()
  const coded = ({ status, body }: { status: number; body: any }) => [status, body.errcode]
  expect(coded(await addPusher(bob, address))).toEqual([400, 'M_THREEPID_NOT_FOUND'])
  expect(coded(await addPusher(bob, 'anybody@example.org'))).toEqual([400, 'M_THREEPID_NOT_FOUND'])
  expect(coded(await addPusher(alice, address, { app_id: 'org.example' }))).toEqual([
    400,
    'M_INVALID_PARAM',
  ])
})
