// The conformance runner: does what a file says and prints what it saw, as JSON. `conformance.js --target ADDRESS FILE`;
// clients/conformance/README.md has the format.

import { readFileSync } from "node:fs";
import { create, fromJson, type JsonObject, type JsonValue, toJson } from "@bufbuild/protobuf";
import { AtlasError, Code, connect, type Router, TextWithdrawn } from "./index.js";
import {
  DecisionSchema,
  GenerateEventSchema,
  GenerateRequestSchema,
  HealthResponseSchema,
  SelectRequestSchema,
} from "./gen/atlas_api/v1/router_pb.js";

interface Step {
  name: string;
  read: string;
  target: string;
  request: JsonObject;
  metadata: Record<string, string>;
  timeout_ms: number;
  patience_ms: number;
  cancel_at: string;
}

interface Seen {
  name: string;
  status: string;
  reason: string;
  message: string;
  retry_after_s: number | null;
  violations: { field: string; description: string }[];
  attempts: number;
  events: JsonValue[];
  text: string;
}

/** A code's name as gRPC writes it: DEADLINE_EXCEEDED. */
function screaming(code: Code): string {
  if (code === Code.Canceled) return "CANCELLED";
  return Code[code]!.replace(/(?<!^)([A-Z])/g, "_$1").toUpperCase();
}

async function run(router: Router, step: Step, seen: Seen): Promise<void> {
  const options = { timeoutMs: step.timeout_ms, headers: step.metadata };
  if (step.read === "health") {
    seen.events.push(toJson(HealthResponseSchema, await router.health(options)));
    return;
  }
  if (step.read === "select") {
    const decision = await router.select(fromJson(SelectRequestSchema, step.request), options);
    seen.events.push({ decision: toJson(DecisionSchema, decision) });
    return;
  }
  const answer = router.generate(fromJson(GenerateRequestSchema, step.request), options);
  if (step.read === "text") {
    for await (const text of answer.text()) seen.text += text;
  } else if (step.read === "collect") {
    const event = create(GenerateEventSchema, { event: { case: "completed", value: await answer.collect() } });
    seen.events.push(toJson(GenerateEventSchema, event));
  } else {
    for await (const event of answer) {
      seen.events.push(toJson(GenerateEventSchema, event));
      if (event.event.case === step.cancel_at) answer.cancel();
    }
  }
}

function note(seen: Seen, error: unknown): void {
  if (error instanceof TextWithdrawn) {
    seen.status = "WITHDRAWN";
  } else if (error instanceof AtlasError) {
    seen.status = screaming(error.code);
    seen.reason = error.reason;
    seen.message = error.message;
    seen.retry_after_s = error.retryAfterMs === undefined ? null : error.retryAfterMs / 1000;
    seen.violations = error.violations;
    seen.attempts = error.attempts.length;
  } else {
    throw error;
  }
}

const [flag, target, file] = process.argv.slice(2);
if (flag !== "--target" || !target || !file) throw new Error("usage: conformance.js --target ADDRESS FILE");
const shared = connect(target);
const results: Seen[] = [];
for (const step of JSON.parse(readFileSync(file, "utf8")) as Step[]) {
  const seen: Seen = {
    name: step.name,
    status: "OK",
    reason: "",
    message: "",
    retry_after_s: null,
    violations: [],
    attempts: 0,
    events: [],
    text: "",
  };
  const router = step.target ? connect(step.target, { patienceMs: step.patience_ms }) : shared;
  try {
    await run(router, step, seen);
  } catch (error) {
    note(seen, error);
  }
  if (router !== shared) router.close();
  results.push(seen);
}
shared.close();
process.stdout.write(JSON.stringify(results));
