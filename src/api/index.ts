import type { AnyOp } from '#api/http/op.ts'

/** The table of contents: a spec file a line. Each exports its operations under their spec names. */
export const files: Readonly<Record<string, Record<string, AnyOp>>> = {}

/** All operations; what else a file exports is no operation, and is not exported. */
export const ops: readonly AnyOp[] = Object.values(files).flatMap((file) => Object.values(file))
