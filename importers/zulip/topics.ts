/**
 * The first message of each topic of each channel: the root of the thread that the topic becomes. Topics
 * differ by more than the case of their letters. IDs alone do not tell: what an organization had imported
 * got its IDs late.
 */
export class Topics {
  readonly #roots = new Map<string, { id: string; time: number }>()

  /** Tells of a message, ahead of reading them. */
  note(room: string, topic: string, id: string, time: number): void {
    const key = keyOf(room, topic)
    const known = this.#roots.get(key)
    const isFirst =
      !known || time < known.time || (time === known.time && Number(id) < Number(known.id))
    if (isFirst) this.#roots.set(key, { id, time })
  }

  root(room: string, topic: string): string | undefined {
    return this.#roots.get(keyOf(room, topic))?.id
  }
}

const keyOf = (room: string, topic: string) => `${room}\n${topic.toLowerCase()}`
