"""`select --record` and `replay` as real processes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.process import environment, run, serving


def test_a_decision_is_recorded_and_made_again_without_the_sidecar(tmp_path: Path) -> None:
    record = tmp_path / "decision.json"
    with serving(tmp_path / "home", "--simulate") as served:
        env = environment(tmp_path, ATLAS_TARGET=served.address)
        selected = run("select", "--role", "supervisor", "--complexity", "low", "--record", str(record), env=env)
        assert selected.returncode == 0, selected.stderr
        assert served.stop() == 0
    replayed = run("replay", str(record), env=environment(tmp_path))
    assert replayed.returncode == 0, replayed.stderr
    assert "the same decision" in replayed.stdout
    assert selected.stdout.split()[0] in replayed.stdout
    assert "reliability" in replayed.stdout, "the table of terms"
    programs = json.loads(run("replay", str(record), "--json", env=environment(tmp_path)).stdout)
    assert programs["same"] is True
    changed = run("replay", "-", env=environment(tmp_path), stdin=record.read_text().replace('"tier":2', '"tier":1', 1))
    assert (changed.returncode, "another decision" in changed.stdout) == (1, True)


def test_what_is_no_record_is_wrong_usage(tmp_path: Path) -> None:
    refused = run("replay", "-", env=environment(tmp_path), stdin="{}")
    assert refused.returncode == 2
    assert "no decision record" in refused.stderr
    missing = run("replay", str(tmp_path / "none.json"), env=environment(tmp_path))
    assert missing.returncode == 2
    assert "cannot be read" in missing.stderr
