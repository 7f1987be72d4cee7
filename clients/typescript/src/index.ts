// A thin client of the ATLAS sidecar: connect, read the stream as events, as text or as one message, and hear one error
// class. Everything else is the generated client (`Router.stub`) and the messages of "atlas-api/v1".
//
// Rules kept here:
// - Sent again is only what cannot have cost anything: Select and Health, and a Generate that no model saw.
// - Everything is bounded: messages, calls, and the patience with a sidecar that is not there yet.

import { connect as connectSocket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { SecureClientSessionOptions } from "node:http2";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { type Client, Code, createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { Answer } from "./answer.js";
import { AtlasError } from "./errors.js";
import {
  type Decision,
  type GenerateRequestSchema,
  type HealthResponse,
  Router as RouterSchema,
  type SelectRequestSchema,
} from "./gen/atlas_api/v1/router_pb.js";

export { Code } from "@connectrpc/connect";
export { Answer } from "./answer.js";
export { AtlasError, TextWithdrawn, type Violation } from "./errors.js";

export const DEFAULT_TARGET = "127.0.0.1:50051";
/** The sidecar's own limit. */
export const MAX_MESSAGE_BYTES = 32 * 1024 * 1024;
const DEFAULT_TIMEOUT_MS = 600_000;
const QUICK_TIMEOUT_MS = 10_000;
const DEFAULT_PATIENCE_MS = 5_000;
const QUICK_ATTEMPTS = 4;

export interface ConnectOptions {
  /** TLS with these options (ca, cert, key, ...); absent: none, as on loopback or a Unix socket. */
  tls?: SecureClientSessionOptions;
  /** How long a call goes on trying while no sidecar takes it (starting, restarting), milliseconds. */
  patienceMs?: number;
}

export interface CallOptions {
  timeoutMs?: number;
  /** Sent as metadata, e.g. a traceparent. */
  headers?: Record<string, string>;
  /** Aborting it cancels the call. */
  signal?: AbortSignal;
}

/**
 * Returns a client of the sidecar at "HOST:PORT" or "unix:/PATH"; without one: ATLAS_TARGET, else 127.0.0.1:50051.
 * Nothing is sent yet.
 */
export function connect(target?: string, options: ConnectOptions = {}): Router {
  return new Router(target || process.env["ATLAS_TARGET"] || DEFAULT_TARGET, options);
}

/** A connection to one sidecar. `stub` is the generated client, for all that is not here. */
export class Router {
  readonly stub: Client<typeof RouterSchema>;
  readonly #session: Http2SessionManager;
  readonly #target: string;
  readonly #patienceMs: number;

  constructor(target: string, options: ConnectOptions) {
    const path = target.startsWith("unix:") ? target.slice("unix:".length) : undefined;
    const baseUrl = `${options.tls ? "https" : "http"}://${path === undefined ? target : "localhost"}`;
    this.#target = target;
    this.#patienceMs = options.patienceMs ?? DEFAULT_PATIENCE_MS;
    this.#session = new Http2SessionManager(
      baseUrl,
      { pingIntervalMs: 30_000, pingTimeoutMs: 10_000, pingIdleConnection: true }, // the sidecar allows a ping every 10 s
      path === undefined ? options.tls : { createConnection: () => connectSocket(path) },
    );
    const transport = createGrpcTransport({
      baseUrl,
      sessionManager: this.#session,
      readMaxBytes: MAX_MESSAGE_BYTES,
      writeMaxBytes: MAX_MESSAGE_BYTES,
      acceptCompression: [],
    });
    this.stub = createClient(RouterSchema, transport);
  }

  /** Ends the connection and every call on it; without it, the process does not end while the connection is idle. */
  close(): void {
    this.#session.abort();
  }

  /** Returns the answer to read, once; the request goes out when reading begins. */
  generate(request: MessageInitShape<typeof GenerateRequestSchema>, options: CallOptions = {}): Answer {
    const { timeoutMs = DEFAULT_TIMEOUT_MS, headers, signal } = options;
    return new Answer(
      (leftMs, aborted) => this.stub.generate(request, { timeoutMs: leftMs, signal: aborted, ...(headers && { headers }) }),
      (forMs) => this.#ready(forMs),
      timeoutMs,
      this.#patienceMs,
      signal,
    );
  }

  /** Returns which model should serve, and why; throws AtlasError. */
  async select(request: MessageInitShape<typeof SelectRequestSchema>, options: CallOptions = {}): Promise<Decision> {
    const response = await this.#quickly((call) => this.stub.select(request, call), options);
    if (!response.decision) throw new AtlasError(Code.Internal, "an answer without a decision");
    return response.decision;
  }

  /** Returns what the sidecar knows of its providers, models, budget and itself; throws AtlasError. */
  health(options: CallOptions = {}): Promise<HealthResponse> {
    return this.#quickly((call) => this.stub.health({}, call), options);
  }

  async #quickly<T>(call: (options: CallOptions) => Promise<T>, options: CallOptions): Promise<T> {
    const { timeoutMs = QUICK_TIMEOUT_MS } = options;
    const ends = performance.now() + timeoutMs;
    for (let attempt = 1; ; attempt++) {
      try {
        return await call({ ...options, timeoutMs: Math.max(1, Math.ceil(ends - performance.now())) });
      } catch (thrown) {
        const error = AtlasError.from(thrown);
        if (error.code !== Code.Unavailable || attempt === QUICK_ATTEMPTS || options.signal?.aborted) throw error;
        await sleep(Math.min(1000, 50 * 2 ** attempt));
      }
    }
  }

  /** Waits for a connection; nothing of a request is sent before. */
  async #ready(forMs: number): Promise<void> {
    const ends = performance.now() + forMs;
    while ((await this.#session.connect()) === "error") {
      if (performance.now() + 100 >= ends) {
        throw new AtlasError(Code.Unavailable, `no sidecar answers at ${this.#target}: ${String(this.#session.error())}`);
      }
      await sleep(100);
    }
  }
}
