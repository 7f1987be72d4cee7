"""`atlas-sidecar demo`: the main job, end to end, without any key."""

import time
from pathlib import Path

from tests.e2e.process import environment, run


def test_the_demo_shows_an_outage_survived_in_under_20_seconds(tmp_path: Path) -> None:
    started = time.monotonic()
    done = run("demo", env=environment(tmp_path))
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 20
    for part in (
        "hop 1: claude-opus-5-5 failed",
        "hop 3: gemini-4-argon answers:",
        "Plan: split the question",
        "reasoning",
        "$0.000",
        "atlas_api.v1.Router/Generate",
        "attempt 1: 500",
        "What next",
    ):
        assert part in done.stdout, part


def test_the_demo_is_plain_and_quiet_where_it_is_piped(tmp_path: Path) -> None:
    done = run("demo", env=environment(tmp_path))
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


def test_the_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    run("demo", env=environment(tmp_path))
    assert list(tmp_path.iterdir()) == []
