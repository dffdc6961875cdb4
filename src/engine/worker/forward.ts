import type { Handlers } from '#engine/worker/channel.ts'
import type { Federation, FederationCalls, RoomCalls } from '#engine/worker/protocol.ts'

/** Answers a worker's requests to other servers by asking the federation worker. */
export const forwardFederation = (federation: Federation): Handlers<FederationCalls> => ({
  request: (...a) => federation.call('request', ...a),
  keys: (...a) => federation.call('keys', ...a),
  keyDocuments: (...a) => federation.call('keyDocuments', ...a),
})

/** Answers calls of rooms with an engine that is built later than the line to it. */
export const forwardRooms = (engine: () => Handlers<RoomCalls>): Handlers<RoomCalls> => ({
  send: (...a) => engine().send(...a),
  create: (...a) => engine().create(...a),
  batchSend: (...a) => engine().batchSend(...a),
  join: (...a) => engine().join(...a),
  changeMembership: (...a) => engine().changeMembership(...a),
  knock: (...a) => engine().knock(...a),
  receive: (...a) => engine().receive(...a),
  makeJoin: (...a) => engine().makeJoin(...a),
  makeLeave: (...a) => engine().makeLeave(...a),
  makeKnock: (...a) => engine().makeKnock(...a),
  sendKnock: (...a) => engine().sendKnock(...a),
  sendJoin: (...a) => engine().sendJoin(...a),
  sendLeave: (...a) => engine().sendLeave(...a),
  receiveInvite: (...a) => engine().receiveInvite(...a),
  backfill: (...a) => engine().backfill(...a),
  removeRoom: (...a) => engine().removeRoom(...a),
  dropRemains: (...a) => engine().dropRemains(...a),
  importHistory: (...a) => engine().importHistory(...a),
})
