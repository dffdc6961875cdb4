import { afterAll } from 'bun:test'
import { stopTestDatabases } from '#test/database.ts'
import { removeFolders } from '#test/folder.ts'
import { answersChecked, summary } from '#test/spec/responses.ts'

// The preload of every run: these hooks run once, after the last file.
afterAll(async () => {
  await stopTestDatabases()
  await removeFolders()
})

afterAll(async () => {
  const said = summary()
  if (said !== undefined) console.log(said)
  await answersChecked()
})
