import { expect, test } from 'bun:test'
import { openTestDatabase } from '#test/database.ts'
import { Program, run, until } from '#test/program/program.ts'

test('a new server says where it listens and how to make the first administrator, once', async () => {
  await using program = await Program.start()
  await until('what it says first', async () => (await program.log()).length > 1)
  const [listening, first, ...more] = (await program.log()).map(({ msg }) => msg)
  expect(more).toEqual([])
  expect(listening).toMatch(/^listening on http:\/\/127\.0\.0\.1:\d+$/)
  expect(first).toStartWith('This server is new. Registration is closed.')
  expect(first).toContain(`user add NAME --admin --config ${program.config}`)
  await program.end()

  await program.start()
  const later = (await program.log()).filter(({ msg }) => msg.startsWith('This server is new'))
  expect(later.length).toBe(1)
})

test('an account is made beside a running server and without one, and can log in', async () => {
  await using program = await Program.start()
  const add = (name: string, input: string, ...more: string[]) =>
    run(['user', 'add', name, ...more, '--config', program.config], { input })

  const beside = await add('alice', 'a long password\n', '--admin')
  expect(beside).toEqual({ code: 0, out: 'Made the administrator @alice:localhost\n', errors: '' })
  const again = await add('alice', 'another password')
  expect([again.code, again.out]).toEqual([1, ''])
  expect(again.errors).toMatch(/^laneway: alice: .+\n$/)
  const invalid = await add('Alice Liddell', 'a long password')
  expect([invalid.code, invalid.out]).toEqual([1, ''])
  expect(invalid.errors).toMatch(/^laneway: Alice Liddell: .+\n$/)

  const wrong = await program.logIn('alice', 'another password')
  expect([wrong.status, await wrong.json()]).toMatchObject([403, { errcode: 'M_FORBIDDEN' }])
  const right = await program.logIn('alice', 'a long password')
  expect([right.status, await right.json()]).toMatchObject([200, { user_id: '@alice:localhost' }])

  await program.end()
  const without = await add('bob', 'a long password')
  expect(without).toEqual({ code: 0, out: 'Made the account @bob:localhost\n', errors: '' })
  await program.start()
  expect((await program.logIn('bob', 'a long password')).status).toBe(200)
  expect(await program.complaints()).toEqual([])
})

test('registration is closed until it is opened', async () => {
  await using database = await openTestDatabase()
  await using program = await Program.start({ database: database.url })
  const register = () =>
    program.fetch('/_matrix/client/v3/register', {
      method: 'POST',
      body: JSON.stringify({
        username: 'eve',
        password: 'a long password',
        auth: { type: 'm.login.dummy' },
      }),
    })
  expect((await register()).status).toBe(403)
  await program.end()
  await program.configure({
    database: database.url,
    sections: '[registration]\nenabled = true\ndummy = true\n',
  })
  await program.start()
  expect((await register()).status).toBe(200)
})
