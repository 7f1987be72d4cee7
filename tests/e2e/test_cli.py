"""The command line, as people and programs use it: the real program against a real sidecar."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from tests.e2e.process import Served, environment, run, serving

TROUBLED = """\
providers:
  first: {kind: simulated, models: {a: {script: [{status: 503, times: 1000}]}}}
  second: {kind: simulated, text: "the answer", models: {cut: {script: [{cut_after: 1}]}}}
models:
  a: {provider: first, context_window: 10000, max_output_tokens: 100, reasoning_score: 9, speed_score: 5, price: {input: 1, output: 2}}
  b: {provider: second, context_window: 10000, max_output_tokens: 100, reasoning_score: 5, speed_score: 5, price: {input: 1, output: 2}}
  cut: {provider: second, context_window: 10000, max_output_tokens: 100, reasoning_score: 5, speed_score: 5, price: {input: 1, output: 2}}
roles: {worker: {tiers: [[a], [b]]}, lonely: {tiers: [[a]]}, broken: {tiers: [[cut], [b]]}}
"""  # noqa: E501  # a configuration is read more easily in whole lines


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("troubled")
    (home / "atlas.yaml").write_text(TROUBLED)
    with serving(home, "--config", str(home / "atlas.yaml")) as served:
        yield served


def ask(sidecar: Served, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a client command against the sidecar, named by ATLAS_TARGET."""
    return run(*arguments, env=environment(sidecar.home, ATLAS_TARGET=sidecar.address), stdin=stdin)


# ------------------------------------------------------------------------------------------- select


def test_select_names_the_model_and_the_ones_after_it(sidecar: Served) -> None:
    done = ask(sidecar, "select")
    assert done.returncode == 0
    assert {line.split()[0] for line in done.stdout.splitlines()} <= {"a", "b", "then"}


def test_select_explain_shows_every_term_and_how_they_make_the_score(sidecar: Served) -> None:
    done = ask(sidecar, "select", "--explain", "--complexity", "high", "--context-tokens", "100")
    assert done.returncode == 0
    for word in (
        "reasoning",
        "reliability",
        "cost",
        "speed",
        "success",
        "est. cost",
        "0.4 x reasoning",
        "configuration",
    ):
        assert word in done.stdout
    assert "\x1b" not in done.stdout


def test_select_says_why_nothing_is_eligible_and_fails(sidecar: Served) -> None:
    done = ask(sidecar, "select", "--context-tokens", "999999")
    assert done.returncode == 1
    assert "no model is eligible" in done.stdout
    assert done.stdout.count("context_too_long") == 2


def test_select_json_is_one_object_for_programs(sidecar: Served) -> None:
    decision = json.loads(ask(sidecar, "select", "--json").stdout)
    assert decision["selected"]["id"] in {"a", "b"}
    assert len(decision["candidates"]) == 2


# ------------------------------------------------------------------------------------------- generate


def test_generate_streams_the_answer_to_stdout_and_the_story_to_stderr(sidecar: Served) -> None:
    done = ask(sidecar, "generate", "hello", "--model", "a", "--model", "b", "--complexity", "high")
    assert done.returncode == 0
    assert done.stdout.strip() == "the answer"
    assert "hop 1: a failed: overloaded" in done.stderr
    assert "next: b" in done.stderr
    assert "b · stop · " in done.stderr


@pytest.mark.parametrize("arguments", [("-",), (), ("--message", "-")])
def test_the_prompt_comes_from_stdin_too(sidecar: Served, arguments: tuple[str, ...]) -> None:
    done = ask(sidecar, "generate", *arguments, "--model", "b", stdin="hello")
    assert (done.returncode, done.stdout.strip()) == (0, "the answer")


def test_the_prompt_comes_from_a_file_too(sidecar: Served, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("hello")
    done = ask(sidecar, "generate", "--message", str(tmp_path / "prompt.txt"), "--model", "b", "--system", "be brief")
    assert (done.returncode, done.stdout.strip()) == (0, "the answer")


def test_buffered_answers_are_printed_whole(sidecar: Served) -> None:
    done = ask(sidecar, "generate", "hello", "--model", "b", "--policy", "buffer")
    assert (done.returncode, done.stdout.strip()) == (0, "the answer")


def test_an_answer_that_starts_again_says_so(sidecar: Served) -> None:
    done = ask(sidecar, "generate", "hello", "--role", "broken", "--policy", "restart")
    assert done.returncode == 0
    assert "cut failed: stream_broken" in done.stderr
    assert "the answer starts again" in done.stderr
    assert done.stdout.strip().endswith("the answer")


def test_generate_json_is_one_event_a_line(sidecar: Served) -> None:
    events = [
        json.loads(line) for line in ask(sidecar, "generate", "hello", "--json", "--model", "b").stdout.splitlines()
    ]
    assert [int(event["seq"]) for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["completed"]["message"]["parts"][0]["text"] == "the answer"


def test_when_every_model_fails_it_lists_the_requests_and_ends_with_1(sidecar: Served) -> None:
    done = ask(sidecar, "generate", "hello", "--role", "lonely")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "failed: ALL_MODELS_FAILED" in done.stderr
    assert "hop 1, request 1: a: overloaded 503" in done.stderr


def test_a_failure_as_json_has_the_reason(sidecar: Served) -> None:
    done = ask(sidecar, "generate", "hello", "--role", "lonely", "--json")
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert (done.returncode, error["code"], error["reason"]) == (1, "UNAVAILABLE", "ALL_MODELS_FAILED")


def test_a_mistake_in_the_request_names_what_would_be_right(sidecar: Served) -> None:
    done = ask(sidecar, "generate", "hello", "--model", "zzz")
    assert done.returncode == 1
    assert "unknown model 'zzz'; configured are: a, b, " in done.stderr


# ------------------------------------------------------------------------------------------- health


def test_health_shows_providers_models_and_budget(sidecar: Served) -> None:
    done = ask(sidecar, "health")
    assert done.returncode == 0
    for word in ("first", "second", "closed", "spent today", "keeps the books alone"):
        assert word in done.stdout


def test_health_json_is_the_wire_s(sidecar: Served) -> None:
    health = json.loads(ask(sidecar, "health", "--json").stdout)
    assert {model["model"]["id"] for model in health["models"]} == {"a", "b", "cut"} | {
        "claude-opus-5-5", "gpt-6.1-sol", "gemini-4-argon", "claude-sonnet-5-5", "gpt-6-luna", "gpt-oss-120b",
    }  # fmt: skip


# ------------------------------------------------------------------------------------------- usage


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("selekt",), "did you mean select?"),
        (("serve", "--simulat"), "unrecognized arguments: --simulat"),
        (("select", "--context-tokens", "-5"), "'-5' is no whole number from 0 on"),
        (("select", "--complexity", "extreme"), "invalid choice: 'extreme'"),
        (("health", "--target", "nowhere"), "must be HOST:PORT"),
        (("generate", "a", "--message", "b"), "give PROMPT or --message FILE, not both"),
        (("generate", "--message", "/no/such/file"), "cannot be read: No such file or directory"),
        (("generate", "-"), "the prompt is empty"),
        (("budget", "serve"), "which ledger?"),
        ((), "the following arguments are required: COMMAND"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_would_be_right(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = run(*arguments, env=environment(tmp_path))
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_when_nobody_answers_it_says_how_to_start_one(tmp_path: Path) -> None:
    done = run("health", "--target", "127.0.0.1:1", env=environment(tmp_path))
    assert done.returncode == 1
    assert "nobody answers at 127.0.0.1:1" in done.stderr
    assert "atlas-sidecar serve" in done.stderr


@pytest.mark.parametrize(
    "command", ["", "serve", "demo", "check-config", "config-schema", "select", "generate", "health", "budget"]
)
def test_every_command_has_help(command: str, tmp_path: Path) -> None:
    done = run(*command.split(), "--help", env=environment(tmp_path))
    assert done.returncode == 0
    assert "usage: atlas-sidecar" in done.stdout


def test_help_teaches_by_examples(tmp_path: Path) -> None:
    done = run("--help", env=environment(tmp_path))
    assert "atlas-sidecar serve --simulate" in done.stdout
    assert "ANTHROPIC_API_KEY" in done.stdout


def test_help_and_version_load_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys; from atlas_sidecar.cli.parser import parser; parser(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"grpc", "pydantic", "yaml", "aiohttp", "opentelemetry"} & set(done.stdout.split())


def test_serving_loads_no_sdk_and_no_prices_before_it_serves(tmp_path: Path) -> None:
    code = "import sys; import atlas_sidecar.cli.serving; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"openai", "anthropic", "groq", "google.genai", "aiohttp", "genai_prices", "httpx"}
    assert not heavy & set(done.stdout.split())


# ------------------------------------------------------------------------------------------- configuration


def test_check_config_says_what_would_be_served(tmp_path: Path) -> None:
    (tmp_path / "atlas.yaml").write_text(TROUBLED)
    done = run("check-config", str(tmp_path / "atlas.yaml"), env=environment(tmp_path))
    assert done.returncode == 0
    assert "valid" in done.stdout
    for word in ("first", "simulated", "worker (default)", "a", "$100 a day"):
        assert word in done.stdout


def test_check_config_warns_of_keys_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "atlas.yaml").write_text("providers: {openai: {}, groq: {}}\n")
    done = run("check-config", str(tmp_path / "atlas.yaml"), env=environment(tmp_path, GROQ_API_KEY="x"))
    assert done.returncode == 0
    assert "provider openai has no key" in done.stdout
    assert "role supervisor: no provider of its models has a key" in done.stdout


def test_check_config_ends_with_2_for_mistakes(tmp_path: Path) -> None:
    (tmp_path / "atlas.yaml").write_text("limits: {max_stream: 3}\n")
    done = run("check-config", env=environment(tmp_path, ATLAS_CONFIG=str(tmp_path / "atlas.yaml"), GROQ_API_KEY="x"))
    assert done.returncode == 2
    assert "did you mean max_streams?" in done.stderr


@pytest.mark.parametrize("command", ["check-config", "serve"])
def test_an_endpoint_that_makes_no_sense_is_a_mistake_too(tmp_path: Path, command: str) -> None:
    (tmp_path / "atlas.yaml").write_text("telemetry: {otlp_endpoint: 'http://collector:4318/somewhere'}\n")
    done = run(command, env=environment(tmp_path, ATLAS_CONFIG=str(tmp_path / "atlas.yaml"), GROQ_API_KEY="x"))
    assert done.returncode == 2
    assert "telemetry.otlp_endpoint: the path of an OTLP HTTP endpoint ends in /v1/traces" in done.stderr


def test_config_schema_is_a_json_schema(tmp_path: Path) -> None:
    done = run("config-schema", env=environment(tmp_path))
    assert done.returncode == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(done.stdout))
