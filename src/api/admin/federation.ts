import { Type as t } from '@sinclair/typebox'
import { Paging, nextOf, orderOf, pageOf, textOf } from '#api/admin/lists/paging.ts'
import { op } from '#api/http/op.ts'
import { MatrixError, notFound } from '#core/error.ts'
import { RoomId, open } from '#core/schema.ts'
import * as destinations from '#store/federation/list-destinations.ts'
import type { Context } from '#src/context.ts'

// Other servers as administrators see them, in the form that known tools speak.

const path = '/_synapse/admin/v1/federation/destinations'
const params = open({ destination: t.String() })
const Destination = open({ destination: t.String() })

async function require(ctx: Context, server: string) {
  const found = await destinations.one(ctx.sql, server)
  if (!found) throw notFound('Nothing is known of such a server')
  return found
}

export const listDestinations = op({
  id: 'listDestinations',
  method: 'GET',
  path,
  auth: 'admin',
  query: open({ ...Paging, destination: t.Optional(t.String()) }),
  response: open({ destinations: t.Array(Destination), total: t.Integer() }),

  async run({ query }, ctx) {
    const page = pageOf(query)
    const order = orderOf(query.order_by, destinations.destinationOrders, 'destination')
    const part = textOf(query.destination)
    const [rows, total] = await Promise.all([
      destinations.page(ctx.sql, part, { ...page, order, backwards: query.dir === 'b' }),
      destinations.count(ctx.sql, part),
    ])
    return { destinations: [...rows], total, ...nextOf(page, rows.length, total) }
  },
})

export const getDestination = op({
  id: 'getDestination',
  method: 'GET',
  path: `${path}/:destination`,
  auth: 'admin',
  params,
  response: Destination,
  run: ({ params: { destination } }, ctx) => require(ctx, destination),
})

export const listRoomsOfDestination = op({
  id: 'listRoomsOfDestination',
  method: 'GET',
  path: `${path}/:destination/rooms`,
  auth: 'admin',
  params,
  query: open(Paging),
  response: open({ rooms: t.Array(open({ room_id: RoomId })), total: t.Integer() }),

  async run({ params: { destination }, query }, ctx) {
    await require(ctx, destination)
    const page = pageOf(query)
    const [rooms, total] = await Promise.all([
      destinations.roomsOf(ctx.sql, destination, { ...page, backwards: query.dir === 'b' }),
      destinations.countRooms(ctx.sql, destination),
    ])
    return { rooms: [...rooms], total, ...nextOf(page, rooms.length, total) }
  },
})

export const resetDestination = op({
  id: 'resetDestination',
  method: 'POST',
  path: `${path}/:destination/reset_connection`,
  auth: 'admin',
  params,

  async run({ params: { destination } }, ctx) {
    const { failure_ts: failing } = await require(ctx, destination)
    if (failing === null)
      throw new MatrixError(400, 'M_UNKNOWN', 'The server is not waited for: nothing to reset')
    // As if it had been in touch: what waits for it is sent at once.
    ctx.signal({ s: 'heard-from', servers: [destination] })
    return {}
  },
})
