import { Type as t } from '@sinclair/typebox'
import { invalidParam } from '#core/error.ts'

// How administrators' tools ask for a part of a list, and how the answer names the next one.

const Offset = t.Integer({ minimum: 0, maximum: 2 ** 31 })

export const Paging = {
  from: t.Optional(Offset),
  limit: t.Optional(t.Integer({ minimum: 1, maximum: 10_000 })),
  dir: t.Optional(t.Union([t.Literal('f'), t.Literal('b')])),
  order_by: t.Optional(t.String()),
}

export type Page = { from: number; limit: number }

export const pageOf = (query: { from?: number; limit?: number }, limit = 100): Page => ({
  from: query.from ?? 0,
  limit: query.limit ?? limit,
})

/** The offset of the next page, if there is one; as a number where tools count with it. */
export const nextOf = ({ from }: Page, shown: number, total: number) =>
  from + shown < total && shown > 0 ? { next_token: from + shown } : {}

/** One of the orders that a list has. */
export function orderOf<O extends string>(
  wanted: string | undefined,
  orders: readonly O[],
  normal: NoInfer<O>,
): O {
  if (wanted === undefined) return normal
  if (!orders.includes(wanted as O)) throw invalidParam(`'order_by' is one of ${orders.join(', ')}`)
  return wanted as O
}

/** A text that the database can look for. */
export function textOf(text: string | undefined): string | undefined {
  if (text?.includes('\0')) throw invalidParam('No text may hold a NUL')
  return text === '' ? undefined : text
}
