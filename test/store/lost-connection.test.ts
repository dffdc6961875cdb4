import { expect, test } from 'bun:test'
import { isConnectionLost, openPool } from '#store/db.ts'
import { testDatabase } from '#test/database.ts'

/**
 * What patches/ changes in the driver. Unpatched, a transaction whose connection is cut ends the
 * process, or takes its connection out of the pool for ever, or goes on inside of another one.
 */
const db = await testDatabase()

const cut = (pid: number) => db.pool`select pg_terminate_backend(${pid})`
const lost = (promise: Promise<unknown>) =>
  promise.then(
    () => false,
    (error: unknown) => isConnectionLost(error),
  )

test.each(['in a statement', 'between statements'])(
  'a transaction that is cut %s fails, and its connection comes back',
  async (where) => {
    await using pool = Object.assign(openPool(db.url, { max: 1 }), {
      [Symbol.asyncDispose]: () => pool.end(),
    })
    await pool`create table if not exists survivors (n integer)`
    for (let round = 0; round < 3; round++) {
      const cutting = Promise.withResolvers<void>()
      const doomed = pool.begin(async (sql) => {
        const [row] = await sql<{ pid: number }[]>`select pg_backend_pid() as pid`
        if (where === 'in a statement') setTimeout(() => void cut(row!.pid).execute(), 30)
        else await cut(row!.pid)
        if (where === 'in a statement') await sql`select pg_sleep(600)`
        // The one connection is now another's, and this must not get into its transaction.
        await cutting.promise
        await sql`insert into survivors values (${round})`
      })
      expect(await lost(doomed)).toBe(true)
      await pool.begin(async (sql) => {
        await sql`select 1`
        cutting.resolve()
        await Bun.sleep(20)
      })
      expect(await pool`select n from survivors`).toHaveLength(0)
    }
  },
)
