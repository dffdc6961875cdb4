import { afterAll, expect, test } from 'bun:test'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { openLog, openLogOn, prettyLine } from '#src/log.ts'
import { newFolder } from '#test/folder.ts'

const folder = await newFolder('log')
afterAll(() => rm(folder, { recursive: true }))

function collect() {
  const lines: string[] = []
  return { lines, log: openLogOn({ write: (line) => void lines.push(line) }, 'info', 'room-1') }
}

test('a record is one line of JSON with time, level, thread and fields', () => {
  const { lines, log } = collect()
  log.child({ part: 'federation' }).warn({ server: 'hs2' }, 'two\nlines')
  log.debug('not this')
  expect(lines).toHaveLength(1)
  expect(lines[0]!.trimEnd()).not.toContain('\n')
  expect(JSON.parse(lines[0]!)).toEqual({
    level: 'warn',
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
    thread: 'room-1',
    part: 'federation',
    server: 'hs2',
    msg: 'two\nlines',
  })
})

test('an error is written with its stack', () => {
  const { lines, log } = collect()
  log.error({ err: new TypeError('broken') }, 'a request failed')
  expect(JSON.parse(lines[0]!)).toMatchObject({
    err: { type: 'TypeError', message: 'broken', stack: expect.stringContaining('log.test.ts') },
  })
})

test('the readable form says the same', () => {
  const { lines, log } = collect()
  log.info({ port: 8008, name: 'two words' }, 'listening')
  expect(prettyLine(lines[0]!, false)).toMatch(
    /^\d\d:\d\d:\d\d\.\d{3} info {2}\[room-1\] listening port=8008 name="two words"\n$/,
  )
  log.error({ err: new Error('broken') }, 'failed')
  const [first, second] = prettyLine(lines[1]!, true).split('\n')
  expect(first).toContain('\x1b[31merror\x1b[0m [room-1] failed')
  expect(second).toStartWith('  Error: broken')
})

test('a file gets every record at once, and keeps what was in it', async () => {
  const file = join(folder, 'new', 'laneway.log')
  openLog({ level: 'info', format: 'auto', file }).info('first')
  openLog({ level: 'info', format: 'auto', file }, 'room-1').info('second')
  const lines = (await readFile(file, 'utf8')).trim().split('\n')
  expect(lines.map((line) => (JSON.parse(line) as { msg: string }).msg)).toEqual([
    'first',
    'second',
  ])
})

test('a log that cannot be written is one clear message', async () => {
  await writeFile(join(folder, 'file'), '')
  const file = join(folder, 'file', 'laneway.log')
  expect(() => openLog({ level: 'info', format: 'json', file })).toThrow(
    `The log ${file} cannot be written`,
  )
})

/** Runs a program that fails to start, and gives what it said where. */
async function fail(error: string, options: object) {
  const program = `
    import { reportFailure } from '#src/log.ts'
    import { StartupError } from '#store/startup-error.ts'
    reportFailure(${error}, ${JSON.stringify(options)})`
  const child = Bun.spawn({
    cmd: [process.execPath, '-e', program],
    cwd: import.meta.dir,
    stdout: 'pipe',
    stderr: 'pipe',
  })
  const [stdout, stderr] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ])
  return { stdout, stderr }
}

test('a failed start is told on stderr and in the log', async () => {
  const file = join(folder, 'failed.log')
  const error = `new StartupError('The port 8008 is taken')`
  expect(await fail(error, { level: 'info', format: 'auto', file })).toEqual({
    stdout: '',
    stderr: 'laneway: The port 8008 is taken\n',
  })
  expect(JSON.parse(await readFile(file, 'utf8'))).toMatchObject({
    level: 'fatal',
    msg: 'the server does not start: The port 8008 is taken',
  })
})

test('a failed start whose log cannot be opened says both on stderr', async () => {
  const { stderr } = await fail(`new Error('broken')`, {
    level: 'info',
    format: 'json',
    file: '/proc/no/log',
  })
  expect(stderr).toContain('laneway: Error: broken\n    at ')
  expect(stderr).toContain('The log /proc/no/log cannot be written')
})

test('records of a worker reach the same file', async () => {
  const file = join(folder, 'worker.log')
  const worker = new Worker(join(import.meta.dir, 'log-worker.ts'))
  const done = new Promise((resolve, reject) => {
    worker.onmessage = resolve
    worker.onerror = reject
  })
  worker.postMessage(file)
  await done
  worker.terminate()
  expect(JSON.parse(await readFile(file, 'utf8'))).toMatchObject({
    thread: 'room-2',
    msg: 'from a worker',
  })
})
