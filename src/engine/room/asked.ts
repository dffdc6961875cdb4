import type { Lane } from '#engine/room/lane.ts'
import type { Committed, Work } from '#engine/room/work.ts'

/** Where the outcome of work goes. */
export type Answer<T> = { resolve: (value: T) => void; reject: (error: Error) => void }

/** Work whose outcome somebody waits for: `decide` notes the answer that is given after the commit. */
export abstract class Asked<T> implements Work<Lane> {
  readonly local: boolean = true
  abstract readonly bytes: number
  readonly inboxIds: readonly number[] = []
  readonly answer: Answer<T>

  constructor(answer: Answer<T>) {
    this.answer = answer
  }

  abstract decide(lane: Lane): ReturnType<Work<Lane>['decide']>
  abstract answerFor(committed: Committed): T

  committed(committed: Committed): void {
    this.answer.resolve(this.answerFor(committed))
  }

  failed(error: Error): void {
    this.answer.reject(error)
  }
}
