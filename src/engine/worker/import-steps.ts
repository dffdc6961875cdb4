/** What is asked of the owner of a room that history is imported into. */

export type ImportMode = 'fresh' | 'archive' | 'insert' | 'append'

/** Where imported history is to be read; null: after all that is there. */
export type ImportPosition =
  | { readonly before: string }
  | { readonly after: string }
  | { readonly atStart: true }
  | { readonly byTime: true }

export type OpenImport = {
  step: 'open'
  /** Whose session it is: the user, or their application service. */
  owner: string
  /** Who asks for it: they invite and tie it in, if nobody else does. */
  userId: string
  /** An administrator need not be in the room. */
  isAdmin: boolean
  source: string
  mode: ImportMode
  position: ImportPosition | null
  /** Other servers in the room are to get it. */
  federate: boolean
  /** Nothing is begun: only what would be said. */
  dryRun: boolean
  /** `archive`: the room in which people go on. */
  liveRoom: string | null
}

export type ImportPerson = {
  userId: string
  displayname: string | null
  avatarUrl: string | null
  /** Does not leave at the end of the import. */
  stays: boolean
}

export type ImportBatch = {
  step: 'batch'
  sessionId: string
  batch: number
  people: ImportPerson[]
  /** JSON texts, each of one record and with the end of its line: very many strings cross more slowly than one. */
  records: string
  /** Of whoever is no administrator only those may speak who are named among the people of the session. */
  isAdmin: boolean
}

export type ImportEnd = { step: 'commit' | 'abort' | 'undo'; sessionId: string; isAdmin: boolean }

export type ImportStep = OpenImport | ImportBatch | ImportEnd
