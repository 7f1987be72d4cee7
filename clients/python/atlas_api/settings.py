"""How both clients reach the sidecar: address, limits, keepalive, and what may be sent again.

Rules kept here:
- Sent again is only what cannot have cost anything: Select and Health, and a Generate that no model saw.
- Everything is bounded: messages, calls, and the patience with a sidecar that is not there yet.
"""

from __future__ import annotations

import json
import math
import os
import time

from atlas_api.errors import AtlasError

DEFAULT_TARGET = "127.0.0.1:50051"
MAX_MESSAGE_BYTES = 32 * 1024 * 1024  # the sidecar's own; gRPC's default is 4 MiB
DEFAULT_TIMEOUT_S = 600.0
QUICK_TIMEOUT_S = 10.0
DEFAULT_PATIENCE_S = 5.0
_SLACK_S = 0.005  # a deadline passes through several clocks and roundings
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0

_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "atlas_api.v1.Router", "method": method} for method in ("Select", "Health")],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
CHANNEL_OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),  # the sidecar allows 10 s
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),  # it is next door: look again soon
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
]


def target_or_default(target: str | None) -> str:
    """Return the address to call: the one given, else ATLAS_TARGET, else 127.0.0.1:50051."""
    return target or os.environ.get("ATLAS_TARGET") or DEFAULT_TARGET


def sayable_s(left_s: float) -> float:
    """Return the longest time, seconds, of at most `left_s` that reaches the sidecar as it is.

    gRPC's core sends a deadline in three digits, rounded up (src/core/lib/transport/timeout_encoding.cc): of 345.2 s
    the sidecar would hear 346 s, and the call would end here before the sidecar says why.
    """
    grid_s = 0.1
    if left_s < 100 * grid_s:
        return left_s  # steps of 10 ms and less, within the sidecar's margin
    while left_s >= 1000 * grid_s:
        grid_s *= 10
    return math.floor((left_s + _SLACK_S) / grid_s) * grid_s - _SLACK_S


class Patience:
    """How long one Generate call may go on trying to be heard, and how much of its time is left."""

    def __init__(self, timeout_s: float, patience_s: float) -> None:
        now = time.monotonic()
        self._deadline_s = now + timeout_s
        self._ends_s = min(self._deadline_s, now + patience_s)
        self._pause_s = _FIRST_PAUSE_S

    def left_s(self) -> float:
        """Return the seconds until the call's deadline, as gRPC can say them."""
        return sayable_s(max(0.0, self._deadline_s - time.monotonic()))

    def wait_s(self) -> float:
        """Return the seconds for which a connection is worth waiting."""
        return max(0.0, self._ends_s - time.monotonic())

    def pause_s(self, error: AtlasError) -> float | None:
        """Return the seconds to wait before the call is sent again; None when it must not be."""
        if not error.never_ran:
            return None
        pause_s = max(self._pause_s, error.retry_after_s or 0.0)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return pause_s if time.monotonic() + pause_s < self._ends_s else None
