import { FFIType, dlopen, read } from 'bun:ffi'
import { type FileHandle, open } from 'node:fs/promises'
import { StartupError } from '#store/startup-error.ts'

const exclusiveNonBlocking = 2 | 4
const wouldBlock = process.platform === 'linux' ? 11 : 35

/**
 * Takes a lock that the kernel drops when this process ends, however it ends. A file with a process
 * ID would not do: the number may belong to another process by the next start, in a container it
 * usually does.
 */
export async function lockFile(path: string): Promise<FileHandle> {
  const file = await open(path, 'a', 0o600)
  if (flock(file.fd)) return file
  await file.close()
  throw new StartupError(
    `Another Laneway is running on this data directory (it holds ${path}): stop it first, or give this one another data_dir`,
  )
}

function flock(fd: number): boolean {
  const { i32, ptr } = FFIType
  const library = dlopen(process.platform === 'darwin' ? 'libSystem.B.dylib' : 'libc.so.6', {
    flock: { args: [i32, i32], returns: i32 },
    [errnoSymbol]: { args: [], returns: ptr },
  })
  const { flock: call, [errnoSymbol]: errno } = library.symbols
  if (call!(fd, exclusiveNonBlocking) === 0) return true
  const where = errno!()
  const code = where ? read.i32(where as never) : wouldBlock
  // A file system without locks (some network ones) is no reason not to start.
  return code !== wouldBlock
}

const errnoSymbol = process.platform === 'darwin' ? '__error' : '__errno_location'
