import { dlopen, FFIType } from 'bun:ffi'
import type { Steps } from '#core/state-res/steps.ts'

/** What some work of many steps took, in ms of this thread's processor time: in all, and its longest step. */
export type Stepped<T> = { value: T; ms: number; longest: number; steps: number }

/**
 * Does work, and measures every step between two yields, after which another room gets its turn. By
 * processor time: on a machine that does something else as well, a step may stand still for long.
 */
export function stepThrough<T>(work: Steps<T>): Stepped<T> {
  const started = threadMs()
  let longest = 0
  let steps = 0
  for (let before = started; ;) {
    const { done, value } = work.next()
    const now = threadMs()
    longest = Math.max(longest, now - before)
    steps++
    if (done) return { value, ms: now - started, longest, steps }
    before = now
  }
}

/** Processor time of this thread until now; what `process.threadCpuUsage` knows is up to a tick old. */
export function threadMs(): number {
  libc.symbols.clock_gettime(threadClock, time)
  return Number(time[0]) * 1000 + Number(time[1]) / 1e6
}

const threadClock = 3
const time = new BigInt64Array(2)
const libc = dlopen('libc.so.6', {
  clock_gettime: { args: [FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
})
