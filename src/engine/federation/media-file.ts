import { MultipartFault, MultipartReader, boundaryOf } from '#core/multipart.ts'
import { FileSink } from '#engine/federation/file-sink.ts'
import type { Downloaded } from '#engine/federation/options.ts'

/** The other server sends us to where the media is. */
export type Elsewhere = { location: string }

export type MediaFile = { path: string; maxBytes: number }

/** Longer than this between two pieces, and it is given up. */
const idleMs = 30_000

/** Writes an answer's body to a file as it comes, whose type and name are those of the answer. */
export async function savePlain(response: Response, file: MediaFile): Promise<Downloaded> {
  const { contentType, disposition } = aboutOf((name) => response.headers.get(name) ?? undefined)
  const length = response.headers.get('content-length')
  // A length of what travels says nothing of what is packed.
  const told = response.headers.has('content-encoding') ? undefined : length
  await using sink = await FileSink.open(file.path, file.maxBytes)
  for await (const bytes of piecesOf(response)) await sink.write(bytes)
  return { ...(await finish(sink, told)), contentType, disposition }
}

/**
 * Writes the second part of an answer to a file, or says where it is instead. The first part tells
 * about the media; nothing is defined for it yet.
 *
 * Spec: server-server-api/#get_matrixfederationv1mediadownloadmediaid
 */
export async function saveParts(
  response: Response,
  file: MediaFile,
): Promise<Downloaded | Elsewhere> {
  const boundary = boundaryOf(response.headers.get('content-type') ?? '')
  if (boundary === undefined) throw new MultipartFault('The answer is not multipart/mixed')
  let parts = 0
  let headers: ReadonlyMap<string, string> = new Map()
  let aboutBytes = 0
  const found: Uint8Array[] = []
  const reader = new MultipartReader(boundary, {
    begin(read) {
      parts++
      if (parts > 2) throw new MultipartFault('The answer has more than two parts')
      headers = read
      if (parts === 1 && !/^application\/json\b/i.test(headers.get('content-type') ?? ''))
        throw new MultipartFault('The first part of the answer is not JSON')
    },
    data(bytes) {
      if (parts === 2) found.push(bytes)
      else if ((aboutBytes += bytes.length) > maxAboutBytes)
        throw new MultipartFault('The first part of the answer is too long')
    },
    end() {},
  })
  await using sink = await FileSink.open(file.path, file.maxBytes)
  let taken = 0
  for await (const bytes of piecesOf(response)) {
    taken += bytes.length
    if (taken > file.maxBytes + maxFrameBytes) throw sink.tooLarge()
    reader.push(bytes)
    for (const piece of found.splice(0)) await sink.write(piece)
    if (reader.isComplete) break
  }
  reader.end()
  if (parts !== 2) throw new MultipartFault('The answer has not two parts')
  const location = headers.get('location')
  if (location !== undefined) return { location }
  const about = aboutOf((name) => headers.get(name))
  return { ...(await finish(sink, headers.get('content-length'))), ...about }
}

const maxAboutBytes = 64 * 1024
/** What boundaries, headers and the first part may take. */
const maxFrameBytes = 256 * 1024

const aboutOf = (header: (name: string) => string | undefined) => ({
  contentType: header('content-type')?.slice(0, 255),
  disposition: header('content-disposition')?.slice(0, 2000),
})

/** All came; `told` is how much it should be, by a header. */
async function finish(sink: FileSink, told: string | null | undefined) {
  if (typeof told === 'string' && Number(told) !== sink.bytes)
    throw new MultipartFault(`${sink.bytes} bytes came where ${told.slice(0, 20)} were told of`)
  return sink.finish()
}

/** The pieces of a body, as long as they keep coming. */
async function* piecesOf(response: Response): AsyncGenerator<Uint8Array> {
  if (!response.body) return
  const reader = response.body.getReader()
  let isDone = false
  try {
    for (;;) {
      const late = Promise.withResolvers<never>()
      const timer = setTimeout(() => late.reject(new Error('The transfer stands still')), idleMs)
      const read = await Promise.race([reader.read(), late.promise]).finally(() =>
        clearTimeout(timer),
      )
      isDone = read.done
      if (read.done) return
      yield read.value
    }
  } finally {
    if (!isDone) await reader.cancel().catch(() => {})
  }
}
