import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { newFolder } from '../folder.ts'

/** A folder that is gone after the run, unless LANEWAY_INTEROP_KEEP wants to look into it. */
export const openFolder = (name: string): Promise<string> =>
  process.env['LANEWAY_INTEROP_KEEP']
    ? mkdtemp(join(tmpdir(), `laneway-${name}-`))
    : newFolder(name)
