import { rm } from 'node:fs/promises'

import type { Dns } from '#engine/federation/dns.ts'
import { savePlain } from '#engine/federation/media-file.ts'
import { measure } from '#engine/media/images.ts'
import { decodePage, readPage } from '#engine/media/preview/page.ts'
import { Web } from '#engine/media/preview/web.ts'
import type { Picture, PreviewJob, PreviewMade } from '#engine/media/protocol.ts'

/** Of a page only the beginning is read: what it says of itself stands in its head. */
const maxPageBytes = 2 * 1024 * 1024
const maxPictureBytes = 10 * 1024 * 1024
const deadlineMs = 20_000

/** Makes the preview of an address; runs in the media worker. `dns` is for tests. */
export async function makePreview(job: PreviewJob, dns?: Dns): Promise<PreviewMade> {
  const { blockedRanges: blocked, allowedRanges: allowed, extraAuthorities } = job
  const web = new Web({ blocked, allowed, extraAuthorities, ...(dns && { dns }) })
  const signal = AbortSignal.timeout(deadlineMs)
  try {
    const { address, value } = await web.get(job.url, accept, signal, (response) =>
      readFirst(response, job),
    )
    if ('picture' in value) {
      const picture = await measured(value.picture, job)
      return { outcome: 'made', properties: {}, ...(picture && { picture }) }
    }
    const { properties, pictures } = readPage(value.html, address)
    const picture = await firstPicture(web, pictures, job, signal)
    return { outcome: 'made', properties, ...(picture && { picture }) }
  } catch (error) {
    await rm(job.target, { force: true })
    return { outcome: 'failed', reason: String(error) }
  }
}

const accept = 'text/html, application/xhtml+xml, image/*;q=0.9, */*;q=0.5'

/** A page, a picture that stands for itself, or something of which nothing can be said. */
async function readFirst(response: Response, { target: path }: PreviewJob) {
  const contentType = response.headers.get('content-type') ?? ''
  if (/^image\//i.test(contentType))
    return { picture: await savePlain(response, { path, maxBytes: maxPictureBytes }) }
  if (/^(text\/html|application\/xhtml\+xml)\b/i.test(contentType))
    return { html: decodePage(await readStart(response), contentType) }
  await response.body?.cancel()
  return { html: '' }
}

/** The first bytes of a body; what follows is left where it is. */
async function readStart(response: Response): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body ?? []) {
    chunks.push(chunk)
    // Leaving the loop cancels the stream.
    if ((bytes += chunk.length) >= maxPageBytes) break
  }
  return Buffer.concat(chunks).subarray(0, maxPageBytes)
}

type Saved = Awaited<ReturnType<typeof savePlain>>

/** The first of some pictures that can be had and is one. A page without it is a preview too. */
async function firstPicture(
  web: Web,
  addresses: readonly string[],
  job: PreviewJob,
  signal: AbortSignal,
): Promise<Picture | undefined> {
  for (const address of addresses) {
    const file = { path: job.target, maxBytes: maxPictureBytes }
    const saved = await web
      .get(address, 'image/*', signal, (response) => savePlain(response, file))
      .catch(() => undefined)
    const picture = saved && (await measured(saved.value, job))
    if (picture) return picture
  }
  return undefined
}

async function measured(saved: Saved, job: PreviewJob): Promise<Picture | undefined> {
  const image = await measure(job.target, job.maxPixels)
  if (typeof image === 'string') {
    await rm(job.target, { force: true })
    return undefined
  }
  return { ...image, bytes: saved.bytes, sha256: saved.sha256 }
}
