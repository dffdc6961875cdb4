import { readFile } from 'node:fs/promises'

const root = new URL('../..', import.meta.url).pathname

/** What a process printed, one line of JSON each, and what it took. */
export type Ran = { seconds: number; cpuUs: number; peakKib: number; lines: Line[] }

export type Line = { event?: string; [name: string]: unknown }

/** Runs one of our programs to its end; anything but 0 is an error. */
export async function runProgram(
  file: string,
  args: readonly string[],
  token: string,
): Promise<Ran> {
  const began = performance.now()
  const child = Bun.spawn([process.execPath, file, ...args], {
    cwd: root,
    env: { ...process.env, LANEWAY_TOKEN: token },
    stdout: 'pipe',
    stderr: 'pipe',
  })
  let peak = 0
  const timer = setInterval(() => {
    // It may have ended meanwhile.
    void peakKib(child.pid).then((kib) => (peak = Math.max(peak, kib ?? 0)))
  }, 50)
  try {
    const [out, errors, code] = await Promise.all([
      linesOf(child.stdout),
      new Response(child.stderr).text(),
      child.exited,
    ])
    if (code !== 0)
      throw new Error(`${file} ended with ${code}: ${(errors || out.join('\n')).slice(-2000)}`)
    return {
      seconds: (performance.now() - began) / 1000,
      cpuUs: Number(child.resourceUsage()!.cpuTime.total),
      peakKib: peak,
      lines: out.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as Line),
    }
  } finally {
    clearInterval(timer)
  }
}

/** What a process prints, line by line; how far it says to be goes on to stderr. */
async function linesOf(output: ReadableStream<Uint8Array>): Promise<string[]> {
  const lines: string[] = []
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of output) {
    const found = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = found.pop()!
    for (const line of found)
      if (line.startsWith('{"event":"progress"')) console.error(line)
      else lines.push(line)
  }
  return rest === '' ? lines : [...lines, rest]
}

/** The most memory that a process has had since it began, in KiB; undefined if it has ended. */
export async function peakKib(pid: number): Promise<number | undefined> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => undefined)
  const found = status && /VmHWM:\s+(\d+)/.exec(status)?.[1]
  return found ? Number(found) : undefined
}
