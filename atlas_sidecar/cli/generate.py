"""`atlas-sidecar generate`: an answer, streamed to stdout; what happened on the way to stderr."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import grpc

from atlas_api.v1 import router_pb2 as pb
from atlas_api.v1.router_pb2_grpc import RouterStub
from atlas_sidecar.cli.client import DEFAULT_TARGET, as_json, channel_to, target_of, tell_failure
from atlas_sidecar.cli.select import explain_lines, requirements_of
from atlas_sidecar.cli.text import Style, note, printable, safe, say, seconds, tokens, usd
from atlas_sidecar.cli.usage import UsageError

_MAX_PROMPT_BYTES: Final = 32 * 1024 * 1024


def run(arguments: argparse.Namespace) -> int:
    """Ask, print, and return the exit status."""
    target = target_of(arguments, "ATLAS_TARGET", DEFAULT_TARGET)
    request = request_of(arguments)
    try:
        with channel_to(target, arguments) as channel:
            events = RouterStub(channel).Generate(request, timeout=arguments.timeout)
            try:
                return _print_json(events) if arguments.json else Printer().print(events)
            except (KeyboardInterrupt, BrokenPipeError):
                events.cancel()
                raise
    except grpc.RpcError as error:
        return tell_failure(error, target, as_json=arguments.json, start_with="atlas-sidecar serve")


def request_of(arguments: argparse.Namespace) -> pb.GenerateRequest:
    """Make the request that the options ask for; raises UsageError."""
    messages = [_message("ROLE_SYSTEM", arguments.system)] if arguments.system else []
    return pb.GenerateRequest(
        requirements=requirements_of(arguments),
        messages=[*messages, _message("ROLE_USER", _prompt(arguments))],
        limits=pb.Limits(max_output_tokens=arguments.max_output_tokens or 0),
        stream_policy=pb.StreamPolicy.Value(f"STREAM_POLICY_{(arguments.policy or 'unspecified').upper()}"),
        explain=arguments.explain,
    )


def _message(role: str, text: str) -> pb.ChatMessage:
    return pb.ChatMessage(role=pb.ChatMessage.Role.Value(role), parts=[pb.Part(text=text)])


def _prompt(arguments: argparse.Namespace) -> str:
    source = arguments.message or ("-" if arguments.prompt == "-" else "")
    if arguments.message and arguments.prompt:
        raise UsageError("give PROMPT or --message FILE, not both")
    if not source and arguments.prompt is not None:
        return str(arguments.prompt)
    if not source and sys.stdin.isatty():
        raise UsageError("what should be asked? Give PROMPT, or - to read it from stdin, or --message FILE")
    try:
        data = sys.stdin.buffer.read(_MAX_PROMPT_BYTES) if source in {"", "-"} else Path(source).read_bytes()
        text = data.decode()
    except OSError as error:
        raise UsageError(f"{source}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{source or '-'}: is no UTF-8 text") from None
    if not text.strip():
        raise UsageError("the prompt is empty")
    return text


def _print_json(events: Iterable[pb.GenerateEvent]) -> int:
    for event in events:
        say(as_json(event))
    return 0


class Printer:
    """Prints a call's events for people: the answer to stdout, the rest to stderr."""

    def __init__(self) -> None:
        self._style = Style(sys.stderr)
        self._at_line_start = True
        self._sent_text = False
        self._in_tool_call = False

    def print(self, events: Iterable[pb.GenerateEvent]) -> int:
        """Print all events; return the exit status."""
        for event in events:
            match event.WhichOneof("event"):
                case "started":
                    self._started(event)
                case "delta":
                    self._delta(event.delta)
                case "hop_failed":
                    self._hop_failed(event)
                case "reset":
                    self._aside("the answer starts again:", "yellow")
                case "completed":
                    self._completed(event.completed)
                case "failed":
                    self._failed(event.failed)
                case _:
                    pass  # an event of a newer sidecar
        return 0

    def _started(self, event: pb.GenerateEvent) -> None:
        started = event.started
        if started.HasField("decision"):
            self._aside(*explain_lines(started.decision, self._style))
        self._aside(f"{started.model.id} ({started.model.provider}) answers:", "dim")

    def _delta(self, delta: pb.PartDelta) -> None:
        match delta.WhichOneof("delta"):
            case "text":
                self._write(delta.text)
            case "refusal":
                self._write(delta.refusal)
            case "tool_call":
                self._write(f"{'' if self._at_line_start else chr(10)}{delta.tool_call.name} ")
            case "tool_arguments_json":
                self._write(delta.tool_arguments_json)
            case _:
                pass  # thoughts, signatures, other content of the provider's own

    def _write(self, text: str) -> None:
        if text:
            self._sent_text = True
            sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
            sys.stdout.flush()
            self._at_line_start = text.endswith("\n")

    def _aside(self, *lines_and_style: str) -> None:
        *lines, last = lines_and_style
        style = [last] if last in {"dim", "yellow", "red"} else []
        if not style:
            lines.append(last)
        if not self._at_line_start and sys.stdout.isatty():
            sys.stdout.write("\n")
            sys.stdout.flush()
            self._at_line_start = True
        note(*(self._style(line, *style) for line in lines))

    def _hop_failed(self, event: pb.GenerateEvent) -> None:
        failed = event.hop_failed
        error = pb.ErrorClass.Name(failed.error_class).removeprefix("ERROR_CLASS_").lower()
        code = f" ({safe(failed.code, 60)})" if failed.code else ""
        tries = f"after {failed.attempts} requests, " if failed.attempts > 1 else "after "
        then = f"next: {failed.next.id}" if failed.HasField("next") else "no model is left"
        elapsed = seconds(failed.elapsed.ToTimedelta().total_seconds())
        text = (
            f"hop {event.hop}: {failed.model.id} failed: {error}{code} {tries}{elapsed}: {safe(failed.message)}; {then}"
        )
        self._aside(text, "yellow")

    def _completed(self, completed: pb.Completed) -> None:
        if not self._sent_text:  # BUFFER sends no deltas
            for part in completed.message.parts:
                self._write(part.text or (f"{part.tool_call.name} {part.tool_call.arguments_json}\n"))
        if not self._at_line_start:
            self._write("\n")
        finish = pb.FinishReason.Name(completed.finish_reason).removeprefix("FINISH_REASON_").lower()
        self._aside(" · ".join([completed.model.id, finish, *_bill(completed)]), "dim")

    def _failed(self, failed: pb.Failure) -> None:
        for attempt in failed.attempts:
            error = pb.ErrorClass.Name(attempt.error_class).removeprefix("ERROR_CLASS_").lower()
            status = f" {attempt.http_status}" if attempt.http_status else ""
            self._aside(f"  hop {attempt.hop}, request {attempt.number}: {attempt.model.id}: {error}{status}", "dim")
        if failed.HasField("decision"):
            self._aside(*explain_lines(failed.decision, self._style))


def _bill(completed: pb.Completed) -> list[str]:
    usage = completed.total_usage
    read = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    written = usage.output_tokens + usage.reasoning_tokens
    about = "about " if completed.cost_estimated else ""
    more = " and what is not priced" if completed.cost_incomplete else ""
    cost = f"{about}{usd(completed.cost.nano_usd)}{more}" if completed.HasField("cost") else "cost unknown"
    elapsed = seconds(completed.elapsed.ToTimedelta().total_seconds())
    trace = [f"trace {completed.trace_id}"] if completed.trace_id else []
    return [f"{tokens(read)} tokens in, {tokens(written)} out", cost, elapsed, *trace]
