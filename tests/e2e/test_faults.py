"""Every fault that a provider can have, under every stream policy, through a whole sidecar: what the caller sees.

The run makes docs/faults.md; the test fails where the committed table differs. To write it anew:

    ATLAS_WRITE_FAULTS=1 .venv/bin/pytest tests/e2e/test_faults.py
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

import grpc
import pytest

from atlas_api.v1 import router_pb2 as pb
from tests.adapters.replay import Upstream, serving
from tests.e2e.fault_scripts import FAULTS, FIRST_TOKEN_S, IDLE_S, TEXT, Fault, Script
from tests.e2e.in_process import Heard, Running, asked, running

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "faults.md"
POLICIES: Final = ("FAIL", "RESTART", "CONTINUE", "BUFFER")
DEADLINE_S: Final = 10.0

HEAD: Final = f"""\
# What the caller sees when a provider fails

Made by `tests/e2e/test_faults.py`, which fails where this file differs from what happens: two loopback servers, `first`
and `second` (larger, and good for a prefill), speak the OpenAI wire and do what the table says; a whole sidecar asks
them with the real adapter, and a real client listens. Unless it is said otherwise, `second` answers well. First token
within {FIRST_TOKEN_S:g} s, idle {IDLE_S:g} s, three attempts per model, a deadline of {DEADLINE_S:g} s.

How to read it: ✔ the whole right answer, ✘ the status, its reason, and the wait in RetryInfo. Then the requests in
order, with the class of each failure; `(reset)`: the caller was told to discard what it had; `(carried on)`: the answer
went on where it had broken off; `after a part of it`: the caller has the beginning of the answer, word for word.

For every cell the run asserts: where some model's script succeeds within its attempts, the caller gets the whole right
answer (but where FAIL ends after content, or the request itself is at fault); what ends OK is whole; every call ends
before its deadline and says why; one attempt is one request.
"""


def _config(upstreams: dict[str, str]) -> str:
    providers, models, roles = [], [], []
    for policy in POLICIES:
        for place, which in enumerate(("first", "second")):
            name = f"{policy.lower()}-{which}"
            providers.append(f'  {name}: {{kind: openai, base_url: "{upstreams[name]}", api_key: none}}')
            models.append(
                f"  {name}: {{provider: {name}, model: m, context_window: {100_000 * (place + 1)},"
                f" prefill: {'true' if place else 'false'}, max_output_tokens: 1000,"
                f" reasoning_score: {9 - place}, speed_score: 5, price: {{input: 1, output: 2}}}}"
            )
        roles.append(f"  {policy.lower()}: {{tiers: [[{policy.lower()}-first], [{policy.lower()}-second]]}}")
    return "\n".join(
        [
            f"timeouts: {{connect_s: 1, time_to_first_token_s: {FIRST_TOKEN_S}, idle_s: {IDLE_S}, total_s: 30}}",
            "fallback: {backoff_base_s: 0.02, backoff_cap_s: 0.1}",
            "default_role: fail",
            "providers:",
            *providers,
            "models:",
            *models,
            "roles:",
            *roles,
            "",
        ]
    )


@dataclass
class World:
    """A sidecar and the upstreams of its eight models."""

    run: Running
    upstreams: dict[str, Upstream]

    async def cells(self, fault: Fault) -> list[str]:
        """Play one fault under every policy at once, with no evidence of what was before."""
        self.run.forget_evidence()
        return list(await asyncio.gather(*(self.cell(fault, policy) for policy in POLICIES)))

    async def cell(self, fault: Fault, policy: str) -> str:
        """Play one fault under one policy, hold it against the promises, and tell it in a few words."""
        first, second = (self.upstreams[f"{policy.lower()}-{which}"] for which in ("first", "second"))
        first.choose, second.choose = Script(fault.first), Script(fault.second)
        sent = len(first.requests) + len(second.requests)
        request = asked(
            requirements=pb.Requirements(agent_type=policy.lower(), complexity=pb.COMPLEXITY_HIGH),
            stream_policy=pb.StreamPolicy.Value(f"STREAM_POLICY_{policy}"),
        )
        began = time.monotonic()
        heard = await self.run.generate(request, DEADLINE_S)
        elapsed_s = time.monotonic() - began
        assert elapsed_s < DEADLINE_S
        _check_promises(fault, policy, heard)
        assert len(heard.attempts) == len(first.requests) + len(second.requests) - sent, "one attempt, one request"
        return _told(heard)


def _check_promises(fault: Fault, policy: str, heard: Heard) -> None:
    assert [event.seq for event in heard.events] == list(range(1, len(heard.events) + 1))
    succeeds = not fault.ends and not fault.hopeless and not (fault.breaks and policy == "FAIL")
    assert heard.last.HasField("completed") == (heard.code is grpc.StatusCode.OK)
    assert heard.last.HasField("failed") == (heard.code is not grpc.StatusCode.OK)
    assert (heard.code is grpc.StatusCode.OK) == succeeds, f"{fault.name}, {policy}: {_told(heard)}"
    if succeeds:
        assert heard.message_text == TEXT
        assert heard.text == ("" if policy == "BUFFER" else TEXT)
    else:
        assert heard.reason == heard.last.failed.reason != ""
        assert TEXT.startswith(heard.text)
        assert policy != "BUFFER" or heard.text == ""


def _told(heard: Heard) -> str:
    if heard.code is grpc.StatusCode.OK:
        outcome = "✔"
    else:
        wait = "" if heard.retry_after_s is None else f", RetryInfo {_rounded(heard.retry_after_s)}"
        outcome = f"✘ {heard.code.name} {heard.reason}{wait}"
        if heard.text:
            outcome += ", after a part of it:"  # how much arrives before a cut is the network's affair
    story = []
    for attempt in heard.attempts:
        name = attempt.model.id.rpartition("-")[2]
        label = pb.ErrorClass.Name(attempt.error_class).removeprefix("ERROR_CLASS_").lower()
        story.append(f"{name} {label}" if attempt.error_class else name)
    notes = ""
    if "reset" in heard.kinds:
        notes = " (reset)"
    elif heard.code is grpc.StatusCode.OK and heard.kinds.count("started") > 1:
        notes = " (carried on)"
    return f"{outcome} {' → '.join(story)}{notes}"


def _rounded(seconds: float) -> str:
    """Return a wait to the second where it is long; short ones are chance (jitter)."""
    return f"{round(seconds)} s" if seconds >= 0.5 else "under 1 s"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        names = [f"{policy.lower()}-{which}" for policy in POLICIES for which in ("first", "second")]
        upstreams = {name: await stack.enter_async_context(serving()) for name in names}
        config = _config({name: upstream.url for name, upstream in upstreams.items()})
        yield World(await stack.enter_async_context(running(config, tmp_path)), upstreams)


async def test_the_table_of_faults_says_what_happens(world: World) -> None:
    committed = _committed()
    rows: list[tuple[Fault, list[str]]] = []
    for fault in FAULTS:
        cells = await world.cells(fault)
        while not committed.issuperset(_lines(fault, cells)):  # new, or a busy machine missed a limit: twice is true
            again, cells = cells, await world.cells(fault)
            if again == cells:
                break
        rows.append((fault, cells))
    _, models = world.run.sidecar.health.report()
    assert all(model.in_flight == 0 for model in models)
    assert "0 open" in repr(world.run.sidecar.budget), "every reservation is settled"
    written = document(rows)
    if os.environ.get("ATLAS_WRITE_FAULTS"):
        DOCUMENT.write_text(written, encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == written, (
        "docs/faults.md differs from what happens; see this file's top"
    )


def document(rows: list[tuple[Fault, list[str]]]) -> str:
    """Return docs/faults.md: policies that see the same share a line."""
    lines = [HEAD]
    for group, members in groupby(rows, key=lambda row: row[0].group):
        lines += [f"## {group[0].upper()}{group[1:]}\n", "| fault | policy | what the caller sees |", "|---|---|---|"]
        for fault, cells in members:
            lines += _lines(fault, cells)
        lines.append("")
    return "\n".join(lines)


def _lines(fault: Fault, cells: list[str]) -> list[str]:
    shared: dict[str, list[str]] = {}
    for policy, cell in zip(POLICIES, cells, strict=True):
        shared.setdefault(cell, []).append(policy)
    return [
        f"| {'' if place else fault.name} | {'any' if len(who) == len(POLICIES) else ', '.join(who)} | {cell} |"
        for place, (cell, who) in enumerate(shared.items())
    ]


def _committed() -> set[str]:
    return set(DOCUMENT.read_text(encoding="utf-8").splitlines()) if DOCUMENT.exists() else set()
