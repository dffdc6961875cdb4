import type { Attachment } from '#importers/format.ts'
import type { Block } from '#importers/markup/rich-text.ts'
import {
  type Fields,
  fields,
  id as idOf,
  isFields,
  list,
  number,
  text,
} from '#importers/read/fields.ts'
import type { Source } from '#importers/source.ts'

/** The files of a message: a list, or a single one in old exports. */
export function filesOf(message: Fields): Fields[] {
  const files = list(message, 'files').filter(isFields)
  const single = fields(message, 'file')
  return files.length || !Object.keys(single).length ? files : [single]
}

/** Why a file has no bytes any more, by its mode or what may be done with it. */
const reasons: Readonly<Record<string, string>> = {
  tombstone: 'The file was deleted',
  hidden_by_limit: 'The file was hidden by the limit of a free workspace',
  access_denied: 'Who exported had no access to the file',
  file_not_found: 'Slack did not find the file',
}

/** Files that were downloaded beside the export, by their IDs. */
export class Files {
  readonly #beside = new Map<string, string>()

  constructor(source: Source) {
    for (const { name } of source.entries) {
      const [, id] =
        /(?:^|\/)(?:attachments\/|__uploads\/)?(F[A-Z0-9]{2,})[-/][^/]+$/.exec(name) ?? []
      if (id !== undefined) this.#beside.set(id, name)
    }
  }

  /** What is to be uploaded, and links to what was kept elsewhere from the start. */
  of(files: readonly Fields[]): { files: Attachment[]; links: Block[] } {
    const attached: Attachment[] = []
    const links: Block[] = []
    for (const file of files) {
      const external = text(file, 'external_url') ?? text(file, 'url_private')
      if ((text(file, 'mode') === 'external' || file['is_external'] === true) && external) {
        const label = text(file, 'title') || text(file, 'name') || external
        links.push({ kind: 'p', of: [{ kind: 'link', url: external, of: [label] }] })
      } else attached.push(this.#attachment(file))
    }
    return { files: attached, links }
  }

  #attachment(file: Fields): Attachment {
    const id = idOf(file, 'id')
    const entry = id === undefined ? undefined : this.#beside.get(id)
    const url = text(file, 'url_private_download') ?? text(file, 'url_private')
    const state = [text(file, 'mode'), text(file, 'file_access')].find(
      (each) => each !== undefined && Object.hasOwn(reasons, each),
    )
    const name = text(file, 'name') || text(file, 'title') || id || 'file'
    const type = text(file, 'mimetype')
    const known = Object.fromEntries(
      [
        ['size', 'size'],
        ['width', 'original_w'],
        ['height', 'original_h'],
        ['duration', 'duration_ms'],
      ].flatMap(([as, from]) => {
        const value = number(file, from!)
        return value !== undefined && value > 0 && Number.isSafeInteger(value) ? [[as, value]] : []
      }),
    ) as Partial<Attachment>
    return {
      name,
      ...(entry !== undefined
        ? { content: { entry } }
        : state !== undefined
          ? { gone: reasons[state]! }
          : url !== undefined && /^https?:/.test(url)
            ? { content: { url } }
            : { gone: 'The export does not say where the file is' }),
      ...(type && { type }),
      ...known,
    }
  }
}
