"""Traces for tests: a router whose spans are kept in memory, and a tree written as text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from atlas_sidecar.adapters.telemetry.console import TraceCollector
from atlas_sidecar.adapters.telemetry.export import Telemetry, TelemetrySettings, build_telemetry
from atlas_sidecar.ports import Clock
from tests.runtime.rig import Rig, rig

SECONDS = re.compile(r"\b\d+(\.\d+)?s\b")
CHANGES = {
    *("atlas.attempt.id", "atlas.decision.id", "atlas.continues.span_id", "atlas.decision.scores", "server.port"),
    *("gen_ai.response.time_to_first_chunk", "atlas.time_to_first_token_s"),
}
OF_MODELS = ("gen_ai.usage.", "llm.", "atlas.hop.cost")  # told twice in a trace, viewers count it twice


class Keeper(TraceCollector):
    """Keeps every span, whatever its trace. `made`: every keeper since the test began (conftest.py)."""

    made: ClassVar[list[Keeper]] = []

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[ReadableSpan] = []
        self.made.append(self)

    def on_end(self, span: ReadableSpan) -> None:
        super().on_end(span)
        self.spans.append(span)

    def named(self, name: str) -> ReadableSpan:
        """Return the one span whose name begins so."""
        (found,) = [span for span in self.spans if span.name.startswith(name)]
        return found

    def misplaced(self) -> list[str]:
        """Return what breaks the rules of every tree: what asks a model is LLM, and only it has usage and cost."""
        wrong = []
        for span in self.spans:
            told, asks = attributes(span), span.name.startswith("chat ")
            kind = told.get("openinference.span.kind")
            if kind != ("LLM" if asks else "CHAIN"):
                wrong.append(f"{span.name}: {kind}")
            wrong += [f"{span.name}: {key}" for key in told if key.startswith(OF_MODELS) and not asks]
        return wrong

    def tree(self, *, whole: bool = False) -> str:
        """Return the trace as text: kind, name, and what its status says; seconds are written as Ns.

        `whole`: the attributes too, in order; what is another every time (ids, times, ports, scores) is written as *.
        """
        return "\n".join(self._lines(None, "", whole)) + "\n"

    def _lines(self, parent: int | None, indent: str, whole: bool) -> list[str]:
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
            if whole:
                lines += [f"{indent}  | {key} = {_told(key, value)}" for key, value in sorted(attributes(span).items())]
            lines += self._lines(span.context.span_id, indent + "  ", whole)
        return lines


def _told(key: str, value: Any) -> str:
    return "*" if key in CHANGES else str(list(value) if isinstance(value, tuple) else value)


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
