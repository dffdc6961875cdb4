import { isObject, type JsonObject } from '#core/json.ts'
import type { Surroundings, Told } from '#engine/push/surroundings.ts'

export type Line = Told & Surroundings

export type LetterText = { subject: string; text: string; html: string }

export type LetterParts = {
  serverName: string
  userId: string
  lines: readonly Line[]
  /** Where the reader can end such letters. */
  stop: string | undefined
}

/** Messages of one room that are shown; of more only the number. */
const maxShown = 10
const maxRooms = 20
const maxBody = 500

/** A letter of what somebody has not read. */
export function writeLetter({ serverName, userId, lines, stop }: LetterParts): LetterText {
  const rooms = [...Map.groupBy(lines, ({ item }) => item.room_id).values()]
  const shown = rooms.slice(0, maxRooms)
  const more = rooms.length - shown.length
  const ending =
    stop === undefined
      ? 'You can turn these letters off in the settings of your client.'
      : 'To get no more of these letters:'
  const text = [
    `For ${userId} on ${serverName}:`,
    ...shown.flatMap((room) => ['', oneLine(roomOf(room[0]!)), ...messagesOf(room).map(textOf)]),
    ...(more > 0 ? ['', `And ${more} more rooms.`] : []),
    '',
    '-- ',
    stop === undefined ? ending : `${ending} ${stop}`,
  ].join('\n')
  const html = [
    '<!doctype html><html><body>',
    `<p>For ${escape(userId)} on ${escape(serverName)}:</p>`,
    ...shown.map(
      (room) =>
        `<h3>${escape(roomOf(room[0]!))}</h3><p>${messagesOf(room).map(htmlOf).join('<br>')}</p>`,
    ),
    more > 0 ? `<p>And ${more} more rooms.</p>` : '',
    `<p><small>${escape(ending)}${
      stop === undefined ? '' : ` <a href="${escape(stop)}">${escape(stop)}</a>`
    }</small></p>`,
    '</body></html>',
  ].join('\n')
  return { subject: oneLine(subjectOf(shown, lines.length)), text, html }
}

function subjectOf(rooms: readonly (readonly Line[])[], count: number): string {
  const [first] = rooms
  const line = first![0]!
  if (rooms.length > 1) return `${count} unread messages in ${rooms.length} rooms`
  if (line.isInvite) return `${senderOf(line)} invites you to ${roomOf(line)}`
  return count === 1
    ? `A message in ${roomOf(line)}`
    : `${count} unread messages in ${roomOf(line)}`
}

type Message = { sender: string; body: string }

function messagesOf(room: readonly Line[]): Message[] {
  const skipped = room.length - maxShown
  const shown = room
    .slice(-maxShown)
    .map((line) => ({ sender: senderOf(line), body: sayingOf(line) }))
  return skipped > 0 ? [{ sender: '…', body: `${skipped} more before` }, ...shown] : shown
}

/** What an event says, in words. */
function sayingOf({ pdu: { type, content }, isInvite }: Line): string {
  if (isInvite) return 'invites you'
  if (type === 'm.room.encrypted') return '(encrypted)'
  const { body, msgtype } = isObject(content) ? content : ({} as JsonObject)
  if (type !== 'm.room.message' || typeof body !== 'string') return '(something new)'
  if (msgtype === 'm.image') return '(a picture)'
  if (msgtype === 'm.file' || msgtype === 'm.audio' || msgtype === 'm.video') return '(a file)'
  return body.length > maxBody ? `${body.slice(0, maxBody)}…` : body
}

const roomOf = ({ roomName, roomAlias, senderName, item }: Line): string =>
  roomName ?? roomAlias ?? (senderName === undefined ? item.room_id : `a room with ${senderName}`)

const senderOf = ({ senderName, sender }: Line): string => senderName ?? sender

const textOf = ({ sender, body }: Message): string =>
  `${oneLine(sender)}: ${body.replaceAll('\n', '\n    ')}`

const htmlOf = ({ sender, body }: Message): string =>
  `<b>${escape(sender)}</b>: ${escape(body).replaceAll('\n', '<br>')}`

/** A subject that held a line break could hold headers. */
const oneLine = (text: string): string => text.replace(/\s+/g, ' ').slice(0, 200)

const escape = (text: string): string =>
  text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
