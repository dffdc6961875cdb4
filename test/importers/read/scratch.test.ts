import { expect, test } from 'bun:test'
import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { Scratch } from '#importers/read/scratch.ts'

test('a scratch table holds what is put in it, and leaves nothing behind', () => {
  let file: string
  {
    using scratch = new Scratch('create table seen (key integer primary key)')
    file = scratch.db.filename
    scratch.db.run('insert into seen values (7)')
    expect(scratch.db.query('select key from seen').all()).toEqual([{ key: 7 }])
    expect(existsSync(file)).toBe(true)
  }
  expect(existsSync(dirname(file))).toBe(false)
})

test('a scratch table is gone also where reading stops in between', async () => {
  const files: string[] = []
  async function* numbers() {
    using scratch = new Scratch('create table seen (key integer primary key)')
    files.push(scratch.db.filename)
    yield await Promise.resolve(1)
    yield 2
  }
  for await (const _ of numbers()) break
  expect(files.map((file) => existsSync(dirname(file)))).toEqual([false])
})
