// What a call that ended without an answer says, as one error class.

import { Code, ConnectError } from "@connectrpc/connect";
import type { Attempt, Failure } from "./gen/atlas_api/v1/router_pb.js";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";

/** One field of a request that is wrong; `field` is its path ("tools[0].name"). */
export interface Violation {
  field: string;
  description: string;
}

/** A call that ended without an answer. */
export class AtlasError extends Error {
  override name = "AtlasError";
  /** google.rpc.ErrorInfo's: "ALL_MODELS_FAILED", "BUDGET_EXHAUSTED", ...; "" where the sidecar was not reached. */
  reason = "";
  metadata: Record<string, string> = {};
  /** The smallest wait that may help, milliseconds. */
  retryAfterMs: number | undefined;
  /** On INVALID_REQUEST: which fields. */
  violations: Violation[] = [];

  /** `failure` is the `failed` event, with every attempt, its class and cost. */
  constructor(
    readonly code: Code,
    message: string,
    readonly failure?: Failure,
  ) {
    super(message);
    this.reason = failure?.reason ?? "";
  }

  /** Every request that was sent to a provider, in order. */
  get attempts(): Attempt[] {
    return this.failure?.attempts ?? [];
  }

  /** No model was asked: a sidecar that shuts down refused the call. */
  get neverRan(): boolean {
    return this.reason === "DRAINING";
  }

  /** Returns the error that what a call threw stands for. */
  static from(thrown: unknown, failure?: Failure): AtlasError {
    const cause = ConnectError.from(thrown);
    const error = new AtlasError(cause.code, cause.rawMessage, failure);
    error.cause = thrown;
    for (const info of cause.findDetails(ErrorInfoSchema)) {
      error.reason = info.reason;
      error.metadata = info.metadata;
    }
    for (const { retryDelay } of cause.findDetails(RetryInfoSchema)) {
      error.retryAfterMs = retryDelay && Number(retryDelay.seconds) * 1000 + retryDelay.nanos / 1e6;
    }
    for (const { fieldViolations } of cause.findDetails(BadRequestSchema)) {
      error.violations = fieldViolations.map(({ field, description }) => ({ field, description }));
    }
    return error;
  }
}

/** Text that was already handed out is void: the answer starts over with another model. */
export class TextWithdrawn extends Error {
  override name = "TextWithdrawn";
}
