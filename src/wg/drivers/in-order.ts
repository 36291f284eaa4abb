/** A queue of one: what is handed in runs when everything before it has ended, however that ended. */
export class InOrder {
  #last: Promise<unknown> = Promise.resolve()

  readonly run = <T>(act: () => Promise<T>): Promise<T> => {
    const result = this.#last.then(act)
    this.#last = result.catch(() => undefined)
    return result
  }
}
