/** Messages that have come, and who waits for one. */
export class Inbox<Message> {
  readonly #messages: Message[] = [];
  #waiting: { readonly resolve: (message: Message) => void; readonly reject: (error: unknown) => void } | undefined;
  #failure: unknown;

  push(message: Message): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting === undefined) this.#messages.push(message);
    else waiting.resolve(message);
  }

  /** What every later wait ends with; the first reason counts. */
  end(failure: unknown): void {
    this.#failure ??= failure;
    this.#waiting?.reject(this.#failure);
    this.#waiting = undefined;
  }

  next(): Promise<Message> {
    const message = this.#messages.shift();
    if (message !== undefined) return Promise.resolve(message);
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }
}
