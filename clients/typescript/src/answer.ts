// One answer while it comes. Read it once, in one of three ways: as events, as text or collected.

import { setTimeout as sleep } from "node:timers/promises";
import { Code } from "@connectrpc/connect";
import { AtlasError, TextWithdrawn } from "./errors.js";
import type { Completed, GenerateEvent } from "./gen/atlas_api/v1/router_pb.js";

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 1000;

/** Starts a call that has `leftMs` (whole ones: they go on the wire) to go and ends when `signal` says so. */
export type Start = (leftMs: number, signal: AbortSignal) => AsyncIterable<GenerateEvent>;

/** Waits for a connection for at most so many milliseconds; throws AtlasError where there is none. */
export type Ready = (forMs: number) => Promise<void>;

export class Answer implements AsyncIterable<GenerateEvent> {
  readonly #abort = new AbortController();
  readonly #events: AsyncGenerator<GenerateEvent>;

  constructor(start: Start, ready: Ready, timeoutMs: number, patienceMs: number, signal?: AbortSignal) {
    signal?.addEventListener("abort", () => this.cancel(), { once: true, signal: this.#abort.signal });
    if (signal?.aborted) this.cancel();
    this.#events = this.#read(start, ready, timeoutMs, patienceMs);
  }

  /** Every event, the last one too; throws AtlasError after it where the call failed. Leaving the loop cancels the call. */
  [Symbol.asyncIterator](): AsyncIterator<GenerateEvent> {
    return this.#events;
  }

  /**
   * The text as it comes; throws AtlasError. With a policy that may start over (RESTART, CONTINUE) `onReset` is called when
   * all text so far is void; without it TextWithdrawn is thrown then. With BUFFER the whole text comes at once.
   */
  async *text(onReset?: () => void): AsyncGenerator<string> {
    let said = false;
    for await (const { event } of this.#events) {
      if (event.case === "delta" && event.value.delta.case === "text") {
        said = true;
        yield event.value.delta.value;
      } else if (event.case === "reset" && said) {
        if (!onReset) throw new TextWithdrawn("the answer starts over; pass onReset, or read the events");
        said = false;
        onReset();
      } else if (event.case === "completed" && !said) {
        for (const { kind } of event.value.message?.parts ?? []) if (kind.case === "text") yield kind.value;
      }
    }
  }

  /** The end of the answer: the whole message, the model, usage, cost, attempts; throws AtlasError. */
  async collect(): Promise<Completed> {
    let completed: Completed | undefined;
    for await (const { event } of this.#events) if (event.case === "completed") completed = event.value;
    if (!completed) throw new AtlasError(Code.Internal, "the stream ended without `completed`");
    return completed;
  }

  /** Cancels the call; whoever reads it gets AtlasError with Code.Canceled. */
  cancel(): void {
    this.#abort.abort();
  }

  async *#read(start: Start, ready: Ready, timeoutMs: number, patienceMs: number): AsyncGenerator<GenerateEvent> {
    const begun = performance.now();
    const left = (ms: number) => Math.max(0, begun + ms - performance.now());
    const ends = Math.min(timeoutMs, patienceMs);
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
      let held: GenerateEvent | undefined;
      let error: AtlasError;
      const call = new AbortController();
      const stop = () => call.abort();
      this.#abort.signal.addEventListener("abort", stop);
      try {
        await ready(left(ends));
        if (this.#abort.signal.aborted) stop();
        for await (const event of start(Math.ceil(left(timeoutMs)), call.signal)) {
          if (event.event.case === "failed") held = event;
          else yield event;
        }
        return;
      } catch (thrown) {
        const failure = held?.event.case === "failed" ? held.event.value : undefined;
        error = thrown instanceof AtlasError ? thrown : AtlasError.from(thrown, failure);
      } finally {
        this.#abort.signal.removeEventListener("abort", stop);
        call.abort(); // also when the reader left early
      }
      const wait = Math.max(pause, error.retryAfterMs ?? 0);
      if (!error.neverRan || this.#abort.signal.aborted || wait >= left(ends)) {
        if (held) yield held;
        throw error;
      }
      await sleep(wait);
    }
  }
}
