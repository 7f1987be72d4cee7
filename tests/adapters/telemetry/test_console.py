"""The tree in the terminal: every span a line, in order, failures marked with and without colours."""

import re
from pathlib import Path

from atlas_sidecar.adapters.telemetry.console import MAX_TRACES, TraceCollector, render
from atlas_sidecar.core.types import StreamPolicy
from tests.adapters.telemetry.trees import traced_rig
from tests.runtime.rig import ask, completed

NAME = re.compile(r"[│├└─ ]*\S+( \S+)*")


async def test_the_tree_shows_names_durations_failures_and_the_sum(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(
        tmp_path, {"a": [{"status": 500}, {"cut_after": 3}], "b": [{"status": 429}], "c": []}
    )
    events = await rig.generate(ask(policy=StreamPolicy.RESTART))
    lines = render(keeper.take(completed(events).trace_id)).splitlines()
    names = [NAME.match(line)[0] for line in lines]  # type: ignore[index]  # each line has a name
    assert names[:4] == ["atlas_api.v1.Router/Generate", "├─ atlas.select", "├─ chat a-name", "│  ├─ attempt 1: 500"]
    assert names[-5:] == [
        "│  └─ attempt 2: stream_broken",
        "├─ chat b-name",
        "│  └─ attempt 1: 429",
        "└─ chat c-name",
        "   └─ attempt 1: 200",
    ]
    assert "recovered · 3 hops · 4 attempts · $0.00003" in lines[0]
    assert [("✗" in line) for line in lines] == [
        name.endswith(("a-name", "b-name", "500", "broken", "429")) for name in names
    ]
    assert all("ms" in line or "µs" in line for line in lines)
    assert not any("\x1b" in line for line in lines)


async def test_colours_come_only_where_they_are_asked_for_and_change_no_text(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": [{"status": 429}], "b": []})
    await rig.generate(ask())
    coloured = render(keeper.spans, color=True)
    assert "\x1b[31m" in coloured
    plain = coloured
    for code in ("\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[2m", "\x1b[1m", "\x1b[0m"):
        plain = plain.replace(code, "")
    assert [line.rstrip() for line in plain.splitlines()] == render(keeper.spans).splitlines()


def test_no_spans_are_no_text() -> None:
    assert render([]) == ""


async def test_old_traces_are_forgotten(tmp_path: Path) -> None:
    rig, keeper, _ = await traced_rig(tmp_path, {"a": []})
    collector = TraceCollector()
    traces = [completed(await rig.generate(ask())).trace_id for _ in range(MAX_TRACES + 1)]
    for span in keeper.spans:
        collector.on_end(span)
    assert collector.take(traces[0]) == []
    assert len(collector.take(traces[-1])) == 4
