"""Traces for tests: a router whose spans are kept in memory, and a tree written as text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from atlas_sidecar.adapters.telemetry.console import TraceCollector
from atlas_sidecar.adapters.telemetry.export import Telemetry, TelemetrySettings, build_telemetry
from atlas_sidecar.ports import Clock
from tests.runtime.rig import Rig, rig

SECONDS = re.compile(r"\b\d+(\.\d+)?s\b")


class Keeper(TraceCollector):
    """Keeps every span, whatever its trace."""

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        super().on_end(span)
        self.spans.append(span)

    def named(self, name: str) -> ReadableSpan:
        """Return the one span whose name begins so."""
        (found,) = [span for span in self.spans if span.name.startswith(name)]
        return found

    def tree(self) -> str:
        """Return the trace as text: kind, name, and what its status says; seconds are written as Ns."""
        return "\n".join(self._lines(None, "")) + "\n"

    def _lines(self, parent: int | None, indent: str) -> list[str]:
        lines = []
        mine = [
            one
            for one in self.spans
            if (one.parent.span_id if one.parent and not one.parent.is_remote else None) == parent
        ]
        for span in sorted(mine, key=lambda one: (one.start_time or 0, one.end_time or 0)):
            assert span.context is not None
            failed = span.status.status_code is StatusCode.ERROR
            error = f" ERROR {attributes(span)['error.type']}: {span.status.description}" if failed else ""
            lines.append(f"{indent}{span.kind.name} {SECONDS.sub('Ns', span.name)}{error}")
            lines += self._lines(span.context.span_id, indent + "  ")
        return lines


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    """Return a span's attributes."""
    return span.attributes or {}


async def traced_rig(tmp_path: Path, scripts: Mapping[str, list[Any]], **changes: Any) -> tuple[Rig, Keeper, Telemetry]:
    """Return a rig (tests/runtime/rig.py), and who keeps its spans."""
    keeper, built = Keeper(), []
    settings = changes.pop("settings", TelemetrySettings())

    def build(clock: Clock) -> Telemetry:
        built.append(build_telemetry(settings, clock, [keeper]))
        return built[0]

    made = await rig(tmp_path, scripts, telemetry=build, **changes)
    return made, keeper, built[0]
