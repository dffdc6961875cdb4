/** The status and the body that tell whether the server can serve: what is in the way, by name. */
export const readiness = (
  unready: readonly string[],
): [status: number, body: { status: string; unready?: readonly string[] }] =>
  unready.length === 0 ? [200, { status: 'ready' }] : [503, { status: 'unready', unready }]
