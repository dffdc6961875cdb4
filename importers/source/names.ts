/** Files that archivers and file managers leave behind. */
const litter = /(^|\/)(__MACOSX|\.DS_Store|Thumbs\.db|desktop\.ini)(\/|$)/

/**
 * The name of an entry of an archive as a path within it; undefined if it leads out: an absolute path, one
 * through `..`, a drive.
 */
export function safeName(name: string): string | undefined {
  const path = name.replaceAll('\\', '/').replace(/^(\.\/)+/, '')
  if (path === '' || path.includes('\0') || path.startsWith('/') || /^[a-z]:/i.test(path))
    return undefined
  return path.split('/').includes('..') ? undefined : path
}

/** Whether an entry belongs to no export. */
export function isLitter(name: string): boolean {
  return litter.test(name)
}

/** Sorted as numbers where there are numbers: part 2 before part 10. */
export function byName(one: { name: string }, other: { name: string }): number {
  return collator.compare(one.name, other.name)
}

const collator = new Intl.Collator('en', { numeric: true })
