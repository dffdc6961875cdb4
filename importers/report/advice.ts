import type { Problem, ProblemClass } from '#importers/format.ts'

/** What an administrator can do about problems of a class. */
const advice: { [what in ProblemClass]: string } = {
  malformed:
    'The export does not hold what stands here in a form that can be read. If the file was cut off, export or download it again and run the same command: only what is new is imported.',
  encoding: 'Bytes that are no text of a known encoding were replaced.',
  too_large:
    'An event may have 65,536 bytes. Texts are split, and nothing of them is lost; what cannot be split is not imported.',
  bad_time:
    'The time in the export cannot be: the record has that of its ID, or stands behind the one before it.',
  unknown_author:
    'The export does not say who this is. Give the ID a user of the server in the plan, under [people.map], before it is imported; afterwards undo it first.',
  missing_parent:
    'What was answered is not in the export: it was deleted, is in another room, or was not exported.',
  cycle: 'The records refer to each other in a circle, which was cut.',
  media_gone:
    'The file is not there any more, or may not be fetched: links of exports expire. Export again with files, and undo and import again.',
  media_too_big:
    'The server takes no files of this size: raise its limit, and undo and import again, or put the files elsewhere.',
  unsupported_type: 'There is nothing in Matrix for this, or the format does not know it.',
  duplicate: 'The export has it twice: it was imported once.',
  deleted: 'It was deleted before it was exported.',
  bridged: 'It came from Matrix over a bridge, where it still is.',
  unsafe_archive:
    'An archive is not to write outside of its folder, nor to unpack to so much: these files were not read. Where the archive is yours, unpack it yourself and import the folder.',
  forbidden: 'The server, or the plan, does not let this in.',
  server: 'The server refused it; the reason is its own.',
}

/** What there is to say about problems of a class. */
export function adviceFor(what: ProblemClass, done: Problem['done']): string {
  return done === 'left_out' && what !== 'bridged' && what !== 'duplicate'
    ? 'That is as it should be: it is told so that nothing is missed.'
    : advice[what]
}
