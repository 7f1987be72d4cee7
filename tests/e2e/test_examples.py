"""The example agents of clients/, each a real process against a real sidecar.

Python's runs always; those of the other languages where `make conformance` has built them and ATLAS_CLIENTS names them.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.process import Served, serving

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "clients"
AGENTS = {
    "python": (sys.executable, str(CLIENTS / "python" / "examples" / "agent.py")),
    "go": (str(ROOT / ".tools" / "clients-go" / "agent"),),
    "typescript": ("node", str(CLIENTS / "typescript" / "dist" / "examples" / "agent.js")),
    "java": (str(ROOT / "tools" / "java"), "io.github.atlassidecar.examples.Agent"),
}
LANGUAGES = os.environ.get("ATLAS_CLIENTS", "python").split(",")
TRACE = "0af7651916cd43dd8448eb211c80319c"


def model(language: str, name: str, price: int = 1) -> str:
    return (
        f"  {language}-{name}: {{provider: {language}-{name}, context_window: 100000, max_output_tokens: 1000, "
        f"reasoning_score: 5, speed_score: 5, capabilities: [tools], price: {{input: {price}, output: {price}}}}}\n"
    )


SCRIPTS = {
    "down": "{script: [{status: 503, times: 99}]}",
    "tool": "{text: It rains in Berlin., script: [{tool_call: {name: get_weather, arguments: {city: Berlin}}}]}",
    "cut": "{text: one two three, script: [{cut_after: 2, times: 99}]}",
    "dear": "{}",
    "refused": "{script: [{status: 401, times: 99}]}",
    "limited": "{script: [{status: 429, retry_after_s: 3600, times: 99}]}",
    "silent": "{script: [{silent: true, times: 99}]}",
    "stalled": "{text: one two, script: [{stall_after: 1, times: 99}]}",
}
ROLES = {
    "helped": ["down", "tool"],
    "restarted": ["cut", "tool"],
    "broke": ["dear"],
    "lost": ["refused", "limited"],
    "slow": ["silent"],
    "stuck": ["stalled"],
}


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("sidecar")
    text = "budget: {daily_limit_usd: 100}\nproviders:\n"
    for language in LANGUAGES:
        text += "".join(
            f"  {language}-{name}: {{kind: simulated, models: {{{language}-{name}: {script}}}}}\n"
            for name, script in SCRIPTS.items()
        )
    text += "models:\n"
    for language in LANGUAGES:
        text += "".join(model(language, name, 1_000_000 if name == "dear" else 1) for name in SCRIPTS)
    text += "roles:\n"
    for language in LANGUAGES:
        for role, names in ROLES.items():
            text += f"  {language}-{role}: {{tiers: [{', '.join(f'[{language}-{name}]' for name in names)}]}}\n"
    path = folder / "atlas.yaml"
    path.write_text(text + f"  worker: {{tiers: [[{LANGUAGES[0]}-tool]]}}\n")
    with serving(folder / "home", "--config", str(path), ATLAS_LISTEN=f"unix:{folder}/router.sock") as served:
        yield served


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def start(sidecar: Served, language: str, role: str, timeout_s: float = 30) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        (
            *AGENTS[language],
            "--role",
            f"{language}-{role}",
            "--timeout",
            str(timeout_s),
            "How is the weather in Berlin?",
        ),
        env={**os.environ, "ATLAS_TARGET": sidecar.address, "TRACEPARENT": f"00-{TRACE}-b7ad6b7169203331-01"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ask(sidecar: Served, language: str, role: str, timeout_s: float = 30) -> tuple[int, str, str]:
    """Run an agent to its end; return its status, its answer, its notes without the language's name."""
    process = start(sidecar, language, role, timeout_s)
    out, err = process.communicate(timeout=50)
    return process.returncode, out, err.replace(f"{language}-", "")


def test_it_shows_hops_calls_the_tool_and_gives_the_answer(sidecar: Served, language: str) -> None:
    status, out, err = ask(sidecar, language, "helped")
    assert (status, out.strip()) == (0, "It rains in Berlin.")
    notes = err.splitlines()
    assert "[down failed: overloaded; tool is asked next]" in notes
    assert '[get_weather({"city":"Berlin"}) = rain, 12 C in Berlin]' in notes
    assert notes[-1].startswith("[tool answered for 0.0000")
    assert notes[-1].endswith(f"USD, trace {TRACE}]")


def test_it_says_when_an_answer_starts_over(sidecar: Served, language: str) -> None:
    status, out, err = ask(sidecar, language, "restarted")
    assert status == 0
    assert out.splitlines()[0] == "one two "
    assert out.splitlines()[-1] == "It rains in Berlin."
    assert "[starting over]" in err.splitlines()


def test_it_tells_an_exhausted_budget_from_other_ends(sidecar: Served, language: str) -> None:
    status, out, err = ask(sidecar, language, "broke")
    assert (status, out) == (1, "")
    assert "[no answer: BUDGET_EXHAUSTED: " in err
    assert "[the budget is used up: ask for more, or wait for the next day]" in err.splitlines()


def test_it_lists_what_each_model_said_when_all_failed(sidecar: Served, language: str) -> None:
    status, out, err = ask(sidecar, language, "lost")
    assert (status, out) == (1, "")
    assert "[no answer: ALL_MODELS_FAILED: " in err
    assert {"[hop 1, refused: HTTP 401]", "[hop 2, limited: HTTP 429]"} <= set(err.splitlines())
    assert "[trying again may help in 3" in err.splitlines()[-1]


def test_its_deadline_bounds_the_call(sidecar: Served, language: str) -> None:
    started = time.monotonic()
    status, _, err = ask(sidecar, language, "slow", timeout_s=1)
    assert status == 1
    # The sidecar says so in time; a virtual machine that still loads its classes may find out by itself.
    assert re.search(r"\[no answer: (DEADLINE|DeadlineExceeded)", err)
    assert time.monotonic() - started < 10


def test_an_interrupt_cancels_the_call(sidecar: Served, language: str) -> None:
    process = start(sidecar, language, "stuck")
    assert process.stdout is not None
    assert process.stdout.read(4) == "one "
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert re.search(r"\[no answer: (CANCELLED|Canceled): ", err)  # as the language spells the code
