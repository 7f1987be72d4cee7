"""Where the books lie when nobody said."""

import fcntl
import os
from pathlib import Path

import pytest

from atlas_sidecar.app.places import reports_to_service, spend_log_directory
from atlas_sidecar.config import Configuration, load


def configuration(tmp_path: Path, text: str = "", *, simulate: bool = False) -> Configuration:
    file = tmp_path / "atlas.yaml"
    file.write_text(text)
    return load(str(file), {"OPENAI_API_KEY": "x"}, simulate=simulate)


def test_the_configured_directory_is_taken_as_it_is(tmp_path: Path) -> None:
    wanted = configuration(tmp_path, "budget: {spend_log: /var/lib/atlas}\n")
    assert spend_log_directory(wanted, {"HOME": str(tmp_path)}) == Path("/var/lib/atlas")


def test_each_node_has_a_directory_below_the_state_directory(tmp_path: Path) -> None:
    node = configuration(tmp_path, "budget: {node: acme/search}\n")
    assert spend_log_directory(node, {"HOME": str(tmp_path)}) == tmp_path / ".local/state/atlas-sidecar/acme_search"
    state = {"HOME": "/nowhere", "XDG_STATE_HOME": str(tmp_path / "state")}
    assert spend_log_directory(node, state) == tmp_path / "state/atlas-sidecar/acme_search"


def test_simulated_money_lies_apart(tmp_path: Path) -> None:
    directory = spend_log_directory(configuration(tmp_path, simulate=True), {"HOME": str(tmp_path)})
    assert directory.name == "simulated-default"


def test_simulated_money_lies_apart_below_a_configured_directory_too(tmp_path: Path) -> None:
    wanted = configuration(tmp_path, "budget: {spend_log: /var/lib/atlas}\n", simulate=True)
    assert spend_log_directory(wanted, {}) == Path("/var/lib/atlas/simulated")


@pytest.mark.parametrize(
    ("node", "simulate", "told"),
    [
        ("acme/search", False, True),
        ("acme/search", True, False),
        ("default", True, False),
        ("simulated", True, True),
        ("simulated/search", True, True),
        ("simulatedly", True, False),
    ],
)
def test_simulated_costs_reach_the_service_below_a_root_of_their_own_only(
    tmp_path: Path, node: str, simulate: bool, told: bool
) -> None:
    text = f'budget: {{node: {node}, service: "127.0.0.1:9"}}\n'
    wanted = configuration(tmp_path, text, simulate=simulate)
    assert reports_to_service(wanted) is told


def test_a_directory_that_another_sidecar_holds_is_passed_over(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    first = spend_log_directory(configuration(tmp_path), environ)
    first.mkdir(parents=True)
    with (first / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert spend_log_directory(configuration(tmp_path), environ).name == "default-2"
    assert spend_log_directory(configuration(tmp_path), environ) == first


@pytest.mark.parametrize("environ", [{}, {"HOME": "/proc"}, {"XDG_STATE_HOME": "relative"}])
def test_without_a_place_to_write_it_takes_the_temporary_directory_and_says_so(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    directory = spend_log_directory(configuration(tmp_path), environ)
    assert directory == tmp_path / f"atlas-sidecar-{os.getuid()}" / "default"
    assert "may not survive a restart" in caplog.text


@pytest.mark.parametrize("node", ["..", ".", "../x", ".../.."])
def test_no_node_leads_out_of_the_state_directory(tmp_path: Path, node: str) -> None:
    named = configuration(tmp_path, f"budget: {{node: '{node}'}}\n")
    directory = spend_log_directory(named, {"HOME": str(tmp_path)})
    assert directory.resolve().parent == (tmp_path / ".local/state/atlas-sidecar").resolve()


def test_a_directory_that_somebody_else_prepared_in_tmp_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    usual = tmp_path / f"atlas-sidecar-{os.getuid()}"
    without_home = configuration(tmp_path)
    assert spend_log_directory(without_home, {}).parent == usual
    usual.chmod(0o777)
    assert spend_log_directory(without_home, {}).parent not in (usual, tmp_path)
    usual.rmdir()
    usual.symlink_to(tmp_path / "theirs")
    taken = spend_log_directory(without_home, {}).parent
    assert taken != usual
    assert taken.stat().st_mode & 0o077 == 0
