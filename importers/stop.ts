/** What ends the command, told to the user in one sentence; exit code 1. */
export class Stop extends Error {
  override readonly name = 'Stop'
}
