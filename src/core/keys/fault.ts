import type { Errcode } from '#core/error.ts'

/** What is wrong with a key that a client uploaded. */
export type KeyFault = { errcode: Errcode; error: string }

export const badKey = (error: string): KeyFault => ({ errcode: 'M_BAD_JSON', error })
export const invalidKey = (error: string): KeyFault => ({ errcode: 'M_INVALID_PARAM', error })
export const badSignature = (error: string): KeyFault => ({ errcode: 'M_INVALID_SIGNATURE', error })
