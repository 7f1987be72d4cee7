"""What the commands that ask a running sidecar have in common: the channel, and failures in plain words."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status

from atlas_sidecar.cli.text import Style, note, safe, seconds
from atlas_sidecar.cli.usage import UsageError

DEFAULT_TARGET: Final = "127.0.0.1:50051"
_MAX_MESSAGE_BYTES: Final = 256 * 1024 * 1024
FAILED: Final = 1
WRONG_USAGE: Final = 2


def target_of(arguments: argparse.Namespace, variable: str, default: str) -> str:
    """Return the address to ask: --target, else the variable, else the default; raises UsageError."""
    target: str = arguments.target or os.environ.get(variable, "").split(",")[0].strip() or default
    if target.startswith("unix:"):
        return target
    host, colon, port = target.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise UsageError(f"--target {target}: must be HOST:PORT such as {default}, or unix:/PATH")
    return target


@contextmanager
def channel_to(target: str, arguments: argparse.Namespace) -> Iterator[grpc.Channel]:
    """Open a channel to an address; raises UsageError when the TLS files cannot be read."""
    options = [
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.enable_http_proxy", 0),
    ]
    files = [arguments.ca_file, arguments.key_file, arguments.cert_file]
    if any(files):
        try:
            ca, key, certificate = (Path(file).read_bytes() if file else None for file in files)
        except OSError as error:
            raise UsageError(f"{error.filename} cannot be read: {error.strerror}") from None
        channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(ca, key, certificate), options)
    else:
        channel = grpc.insecure_channel(target, options)
    with channel:
        yield channel


def as_json(message: Message) -> str:
    """Write a message as one line of JSON, with the names of the proto."""
    return json.dumps(MessageToDict(message, preserving_proto_field_name=True), ensure_ascii=False)


def tell_failure(error: grpc.RpcError, target: str, *, as_json: bool, start_with: str) -> int:
    """Say on stderr why a call failed and what helps; return the exit status.

    `start_with`: the command that starts what is to be asked.
    """
    if not isinstance(error, grpc.Call):
        raise error
    code, message = error.code(), error.details() or ""
    reason, wait_s, fields = _details(error)
    if as_json:
        parts = {"code": code.name, "reason": reason, "message": message, "retry_after_s": wait_s}
        note(json.dumps({"error": {**parts, "fields": dict(fields)}}, ensure_ascii=False))
        return FAILED
    style = Style(sys.stderr)
    if code is grpc.StatusCode.UNAVAILABLE and not reason:
        note(style(f"nobody answers at {target}", "red") + f": is it running? Start it with: {start_with}")
        note("or name another address with --target")
        return FAILED
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and not message:
        message = "no answer in time"
    note(style(f"failed: {reason or code.name}", "red") + f": {safe(message)}")
    for field, description in fields:
        if safe(description) != safe(message):
            note(f"  {field}: {safe(description)}")
    if wait_s is not None:
        note(f"  trying again may help in {seconds(wait_s)}")
    return FAILED


def _details(error: grpc.Call) -> tuple[str, float | None, list[tuple[str, str]]]:
    status = rpc_status.from_call(error)
    reason, wait_s, fields = "", None, []
    for packed in status.details if status is not None else ():
        info, retry, bad = ErrorInfo(), RetryInfo(), BadRequest()
        if packed.Unpack(info):
            reason = info.reason
        elif packed.Unpack(retry):
            wait_s = retry.retry_delay.ToTimedelta().total_seconds()
        elif packed.Unpack(bad):
            fields = [(violation.field, violation.description) for violation in bad.field_violations]
    return reason, wait_s, fields
