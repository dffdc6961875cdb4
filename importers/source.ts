/**
 * The files of an export, wherever they are: a folder, a single file, a zip or a tar. Names are relative,
 * with `/` between folders; what would lead out of the export is not listed.
 */
export type Source = {
  /** As the user gave it. */
  path: string
  /** Sorted by name. */
  entries: readonly Entry[]
  /** Whether there is an entry of this name. */
  has(name: string): boolean
  /** The first bytes of an entry, at most `size` of them (4096 unless told). */
  head(name: string, size?: number): Promise<Uint8Array>
  /** The bytes of an entry, from its start, a piece at a time. */
  open(name: string): AsyncIterable<Uint8Array>
  close(): Promise<void>
}

export type Entry = {
  name: string
  /** Unpacked. */
  size: number
}
