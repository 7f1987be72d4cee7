"""Runs every scenario in every language over every transport against one real sidecar, and prints the matrix.

`python -m clients.conformance.run [LANGUAGE]...` from the repository's root; `make conformance` builds the runners.
A runner is a program: `RUNNER --target ADDRESS FILE` does what FILE says and prints what it saw (see README.md here).

Rules kept here:
- One sidecar, one runner at a time: what is measured is behaviour, and deadlines hold on a busy machine.
- A runner that crashes fails all of its cells, never the whole run; the exit status is 0 only when every cell is ok.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clients.conformance.doubles import doubles
from clients.conformance.judging import judge, normalise
from clients.conformance.scenarios import Scenario, load, runner_input, sidecar_config

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "clients"
TRANSPORTS = ("tcp", "unix")
RUNNERS: Mapping[str, Sequence[str]] = {
    "python": (sys.executable, str(CLIENTS / "python" / "conformance" / "runner.py")),
    "python-asyncio": (sys.executable, str(CLIENTS / "python" / "conformance" / "runner.py"), "--asyncio"),
    "go": (str(ROOT / ".tools" / "clients-go" / "conformance"),),
    "typescript": ("node", str(CLIENTS / "typescript" / "dist" / "conformance.js")),
    "java": (str(ROOT / "tools" / "java"), "io.github.atlassidecar.conformance.Conformance"),
}
START_S, RUN_S = 60.0, 180.0


@dataclass(frozen=True)
class Cell:
    """What one runner made of one scenario: what it saw, normalised, and what is wrong with it."""

    seen: Mapping[str, Any]
    wrong: tuple[str, ...]


@contextmanager
def sidecar(config: Mapping[str, Any], folder: Path) -> Iterator[list[str]]:
    """Serve a configuration until the block ends; yield the addresses. Raises RuntimeError when it does not start."""
    path, log = folder / "atlas.yaml", folder / "sidecar.log"
    path.write_text(yaml.safe_dump(dict(config), allow_unicode=True))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ATLAS_")}
    environment = {**clean, "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}
    command = (sys.executable, "-m", "atlas_sidecar", "serve", "--config", str(path))
    with log.open("w") as stderr:
        process = subprocess.Popen(  # noqa: S603  # our own program
            command, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=ROOT
        )
    assert process.stdout is not None  # noqa: S101  # it is a pipe
    try:
        line = process.stdout.readline().strip()
        if not line.startswith("serving on "):
            raise RuntimeError(f"the sidecar does not start: {log.read_text()[-2000:]}")
        yield line.removeprefix("serving on ").split(", ")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def conform(scenarios: Sequence[Scenario], runners: Sequence[str]) -> dict[str, list[Cell]]:
    """Run the scenarios; return for every run ("go-unix") a cell for each scenario, in order."""
    runs = [f"{runner}-{transport}" for runner in runners for transport in TRANSPORTS]
    with tempfile.TemporaryDirectory(prefix="atlas-") as name:
        folder = Path(name)
        config = sidecar_config(scenarios, runs, ["127.0.0.1:0", f"unix:{folder}/router.sock"])
        with sidecar(config, folder) as addresses:
            targets = dict(zip(TRANSPORTS, addresses, strict=True))
            cells = {}
            for run in runs:
                runner, _, transport = run.rpartition("-")
                path = folder / f"{run}.json"
                with doubles() as others, _nobody() as nobody:
                    steps = runner_input(scenarios, run, {**others, "nobody": nobody})
                    path.write_text(json.dumps(steps, ensure_ascii=False))
                    cells[run] = _cells(scenarios, run, _execute(RUNNERS[runner], targets[transport], path))
    return cells


def disagreements(scenarios: Sequence[Scenario], cells: Mapping[str, Sequence[Cell]]) -> list[str]:
    """Return in which scenarios a run saw something else than the first one."""
    first, *others = cells
    return [
        f"{scenario.name}: {run} saw {cells[run][i].seen}\n    {first} saw {cells[first][i].seen}"
        for i, scenario in enumerate(scenarios)
        for run in others
        if cells[run][i].seen != cells[first][i].seen
    ]


def _cells(scenarios: Sequence[Scenario], run: str, output: Sequence[Mapping[str, Any]] | str) -> list[Cell]:
    if isinstance(output, str) or len(output) != len(scenarios):
        return [Cell({}, (f"{scenario.name}: the runner failed: {output}"[:2000],)) for scenario in scenarios]
    cells = []
    for scenario, raw in zip(scenarios, output, strict=True):
        try:
            seen = normalise(scenario, run, raw)
        except ValueError as error:
            cells.append(Cell({}, (f"{scenario.name}: {error}",)))
            continue
        wrong = judge(scenario, seen)
        seen.pop("retry_after_s", None)  # judged by a range, as time passes
        cells.append(Cell(seen, tuple(wrong)))
    return cells


def _execute(command: Sequence[str], target: str, path: Path) -> Sequence[Mapping[str, Any]] | str:
    """Return what a runner printed, or how it failed."""
    try:
        done = subprocess.run(  # noqa: S603  # our own programs
            (*command, "--target", target, str(path)), capture_output=True, text=True, timeout=RUN_S, check=False
        )
        if done.returncode != 0:
            return done.stderr[-2000:] or f"exit status {done.returncode}"
        output: list[Mapping[str, Any]] = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        return str(error)
    return output


@contextmanager
def _nobody() -> Iterator[str]:
    """Hold a port on which nothing listens; yield its address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def main(arguments: Sequence[str]) -> int:
    """Run the languages named, all without a name; print the matrix; return the exit status."""
    scenarios = load()
    runners = [name for name in RUNNERS if not arguments or name.split("-")[0] in arguments]
    cells = conform(scenarios, runners)
    wrong = [f"{run}: {line}" for run, column in cells.items() for cell in column for line in cell.wrong]
    wrong += disagreements(scenarios, cells)
    width = max(len(scenario.name) for scenario in scenarios)
    print(" " * width, *cells)
    for i, scenario in enumerate(scenarios):
        marks = (("ok" if not cells[run][i].wrong else "FAIL").center(len(run)) for run in cells)
        print(scenario.name.ljust(width), *marks)
    print(f"\n{len(scenarios)} scenarios x {len(cells)} runs: " + ("all ok, all the same" if not wrong else "FAILED"))
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
