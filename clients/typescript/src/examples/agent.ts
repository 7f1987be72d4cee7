// An agent that asks its sidecar, calls a tool, and says what happened on the way.
//
// `node dist/examples/agent.js [--role R] [--timeout SECONDS] QUESTION`, with ATLAS_TARGET if the sidecar is elsewhere. The
// answer is on stdout, notes in brackets are on stderr. Ctrl-C cancels.

import { randomBytes } from "node:crypto";
import { parseArgs } from "node:util";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type Answer, AtlasError, Code, connect, type Router } from "../index.js";
import {
  type ChatMessage,
  ChatMessage_Role,
  type Completed,
  ErrorClass,
  type GenerateRequest,
  GenerateRequestSchema,
  ChatMessageSchema,
  type PartSchema,
  StreamPolicy,
} from "../gen/atlas_api/v1/router_pb.js";

const MAX_TURNS = 4;
const TOOL = {
  name: "get_weather",
  description: "Returns the weather of a city.",
  parametersJsonSchema: '{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}',
};

/** Stands in for a real tool. */
function getWeather(argumentsJson: string): string {
  return `rain, 12 C in ${(JSON.parse(argumentsJson) as { city?: string }).city ?? "nowhere"}`;
}

function note(text: string): void {
  process.stderr.write(`[${text}]\n`);
}

/** Prints the answer while it comes; returns its end. */
async function show(answer: Answer): Promise<Completed> {
  let completed: Completed | undefined;
  for await (const { event } of answer) {
    switch (event.case) {
      case "delta":
        if (event.value.delta.case === "text") process.stdout.write(event.value.delta.value);
        break;
      case "hopFailed": {
        const { model, next, errorClass } = event.value;
        const then = next ? `${next.id} is asked next` : "no model is left";
        note(`${model?.id} failed: ${ErrorClass[errorClass]?.toLowerCase()}; ${then}`);
        break;
      }
      case "reset":
        process.stdout.write("\n");
        note("starting over");
        break;
      case "completed":
        completed = event.value;
    }
  }
  if (!completed) throw new Error("the stream ended without `completed`");
  return completed;
}

/** Runs the tools that a message calls; returns their results as parts. */
function results(message: ChatMessage): MessageInitShape<typeof PartSchema>[] {
  return message.parts.flatMap(({ kind }) => {
    if (kind.case !== "toolCall") return [];
    const { id, name, argumentsJson } = kind.value;
    const output = getWeather(argumentsJson);
    note(`${name}(${argumentsJson}) = ${output}`);
    const value = { callId: id, name, parts: [{ kind: { case: "text" as const, value: output } }] };
    return [{ kind: { case: "toolResult" as const, value } }];
  });
}

/** Asks, runs the tools, and asks again until there is an answer; throws AtlasError. */
async function converse(router: Router, request: GenerateRequest, timeoutMs: number, signal: AbortSignal): Promise<void> {
  const id = () => randomBytes(8).toString("hex");
  const traceparent = process.env["TRACEPARENT"] || `00-${id()}${id()}-${id()}-01`;
  const ends = performance.now() + timeoutMs;
  for (let turn = 0; turn < MAX_TURNS; turn++) {
    const options = { timeoutMs: ends - performance.now(), headers: { traceparent }, signal };
    const completed = await show(router.generate(request, options));
    const message = completed.message ?? create(ChatMessageSchema);
    request.messages.push(message);
    const parts = results(message);
    if (parts.length === 0) {
      process.stdout.write("\n");
      const cost = (Number(completed.cost?.nanoUsd ?? 0n) / 1e9).toFixed(6);
      note(`${completed.model?.id} answered for ${cost} USD, trace ${completed.traceId}`);
      return;
    }
    request.messages.push(create(ChatMessageSchema, { role: ChatMessage_Role.TOOL, parts }));
  }
  note(`no answer after ${MAX_TURNS} turns`);
}

/** Says why there is no answer, and what helps. */
function explain(error: AtlasError): void {
  note(`no answer: ${error.reason || Code[error.code]}: ${error.message}`);
  if (error.reason === "BUDGET_EXHAUSTED") note("the budget is used up: ask for more, or wait for the next day");
  if (error.reason === "ALL_MODELS_FAILED") {
    for (const { hop, model, httpStatus } of error.attempts) note(`hop ${hop}, ${model?.id}: HTTP ${httpStatus}`);
  }
  if (error.retryAfterMs !== undefined) note(`trying again may help in ${(error.retryAfterMs / 1000).toFixed(0)} s`);
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { role: { type: "string", default: "worker" }, timeout: { type: "string", default: "120" } },
});
const request = create(GenerateRequestSchema, {
  requirements: { agentType: values.role },
  messages: [{ role: ChatMessage_Role.USER, parts: [{ kind: { case: "text", value: positionals[0] ?? "" } }] }],
  tools: [TOOL],
  streamPolicy: StreamPolicy.RESTART,
});
const interrupted = new AbortController();
process.once("SIGINT", () => interrupted.abort());
const router = connect();
try {
  await converse(router, request, Number(values.timeout) * 1000, interrupted.signal);
} catch (error) {
  if (!(error instanceof AtlasError)) throw error;
  explain(error);
  process.exitCode = error.code === Code.Canceled ? 130 : 1;
} finally {
  router.close();
}
