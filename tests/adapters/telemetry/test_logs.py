"""Log lines: one per request, JSON unless a terminal reads them, other libraries' lines alike, and no secret in any."""

import asyncio
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.adapters.telemetry.logs import REDACTED, JsonFormatter, Scrubber, configure_logging
from tests.adapters.telemetry.trees import traced_rig
from tests.runtime.rig import ask

KEY = "sk-proj-abcdefghijklmnop1234567890"
Configure = Callable[..., io.StringIO]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def configure() -> Iterator[Configure]:
    root, ours = logging.getLogger(), logging.getLogger("atlas_sidecar")
    before = root.handlers[:], root.level, ours.level

    def set_up(level: str = "info", stream: io.StringIO | None = None, secrets: Iterable[str] = ()) -> io.StringIO:
        stream = stream or io.StringIO()
        configure_logging(level, stream, lambda: secrets)
        return stream

    yield set_up
    logging.captureWarnings(capture=False)
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


async def test_a_request_is_one_line_with_what_it_did(tmp_path: Path, configure: Configure) -> None:
    stream = configure("info")
    rig, keeper, _ = await traced_rig(tmp_path, {"a": [{"status": 429}], "b": []})
    await rig.generate(ask(request_id="order-66"))
    (line,) = [one for one in lines(stream) if one["logger"] == "atlas_sidecar.request"]
    root = keeper.named("atlas_api")
    assert root.context is not None
    assert line["outcome"] == "recovered"
    assert (line["provider"], line["model"]) == ("b", "b")
    assert (line["hops"], line["attempts"]) == (2, 2)
    assert line["chain"] == ["a/a:rate_limited", "b/b:ok"]
    assert line["cost_nano_usd"] == 22_000
    assert line["trace_id"] == f"{root.context.trace_id:032x}"
    assert line["request_id"] == "order-66"
    assert 0 < line["time_to_first_token_s"] < line["duration_s"] < 5
    assert (line["level"], line["message"]) == ("info", "Generate")


async def test_on_a_terminal_the_line_is_a_sentence(tmp_path: Path, configure: Configure) -> None:
    stream = configure("info", Terminal())
    rig, _, _ = await traced_rig(tmp_path, {"a": [{"status": 429}], "b": []})
    await rig.generate(ask())
    line = stream.getvalue().splitlines()[-1]
    assert "Generate recovered by b/b · 2 hops 2 attempts · $0.000022" in line
    assert "a/a:rate_limited → b/b:ok" in line


def test_on_a_terminal_warnings_and_errors_are_marked(configure: Configure) -> None:
    stream = configure("info", Terminal())
    for level in (logging.INFO, logging.WARNING, logging.ERROR):
        logging.getLogger("any").log(level, "text")
    plain, warned, failed = stream.getvalue().splitlines()
    assert plain.endswith(" text")
    assert "\x1b[33mwarning\x1b[0m text" in warned
    assert "\x1b[31merror\x1b[0m text" in failed


def test_other_libraries_lines_come_out_the_same_way(configure: Configure) -> None:
    stream = configure("info")
    logging.getLogger("grpc._cython.cygrpc").error("poller broke: %s", "why")
    logging.getLogger("asyncio").warning("slow callback")
    logging.getLogger("httpx").info("HTTP Request: POST https://api.example.com/v1?key=1")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)  # pytest has taken the hook meanwhile
        warnings.warn("old thing", stacklevel=1)
    told = lines(stream)
    assert [one["logger"] for one in told] == ["grpc._cython.cygrpc", "asyncio", "py.warnings"]
    assert told[0]["message"] == "poller broke: why"


def test_debug_is_ours_alone(configure: Configure) -> None:
    stream = configure("debug")
    logging.getLogger("atlas_sidecar.runtime.health").debug("ours")
    logging.getLogger("openai._base_client").debug("Request options: {'json_data': {'messages': ['a prompt']}}")
    assert [one["message"] for one in lines(stream)] == ["ours"]


def test_an_exception_is_one_line_and_scrubbed(configure: Configure) -> None:
    stream = configure("info", secrets=("very-secret-value",))
    try:
        raise ValueError("refused very-secret-value and Bearer abcdefgh12345678")
    except ValueError:
        logging.getLogger("any").exception("it broke")
    (line,) = lines(stream)
    assert "Traceback" in line["message"]
    assert "very-secret-value" not in line["message"]
    assert "abcdefgh12345678" not in line["message"]


def test_arguments_that_do_not_fit_lose_no_line() -> None:
    record = logging.LogRecord("any", logging.INFO, "", 0, "%d items", ("three",), None)
    assert json.loads(JsonFormatter(Scrubber(tuple)).format(record))["message"] == "%d items"


def test_configuring_again_still_knows_the_keys_of_before(configure: Configure) -> None:
    configure("info", secrets=("old-secret",))
    stream = configure("info", secrets=("new-secret",))
    logging.getLogger("any").warning("old-secret and new-secret")
    assert lines(stream)[0]["message"] == f"{REDACTED} and {REDACTED}"


def test_configuring_twice_writes_each_line_once(configure: Configure) -> None:
    configure("info")
    stream = configure("info")
    logging.getLogger("any").warning("once")
    assert len(lines(stream)) == 1


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {KEY}",
        f"headers={{'authorization': 'Bearer {KEY}'}}",
        f'{{"x-api-key": "{KEY}"}}',
        f"('x-goog-api-key', '{KEY}')",
        f"api_key={KEY}",
        f"incorrect key provided: {KEY}.",
        "key AIzaSyA-1234567890abcdefghijklmnop was refused",
        "gsk_abcdefghijklmnop123456 is wrong",
        "proxy-authorization=Basic dXNlcjpwYXNzd29yZA==",
    ],
)
def test_what_looks_like_a_key_is_taken_out(text: str) -> None:
    told = Scrubber(tuple)(text)
    assert REDACTED in told
    for secret in (KEY, "AIzaSyA-1234567890abcdefghijklmnop", "gsk_abcdefghijklmnop123456", "dXNlcjpwYXNzd29yZA"):
        assert secret not in told


@given(st.text(), st.text(), st.text(min_size=6))
def test_a_known_secret_never_passes(before: str, after: str, secret: str) -> None:
    # What the patterns leave behind may spell the secret only where it is part of the mark itself.
    told = Scrubber(lambda: [secret])(f"{before}{secret}{after}")
    assert secret not in told or secret in REDACTED


async def test_a_key_that_was_rotated_is_still_taken_out() -> None:
    keys = ["first-secret"]
    scrub = Scrubber(lambda: keys)
    scrub("")
    keys[:] = ["second-secret"]
    scrub._ask_at_s = 0.0
    assert scrub("first-secret second-secret") == f"{REDACTED} {REDACTED}"
    await asyncio.sleep(0)


async def test_a_key_that_a_caller_took_for_an_id_is_taken_out(tmp_path: Path, configure: Configure) -> None:
    stream = configure("info", secrets=("known-secret",))
    rig, _, _ = await traced_rig(tmp_path, {"a": []})
    await rig.generate(ask(request_id=f"{KEY} known-secret"))
    assert KEY not in stream.getvalue()
    assert "known-secret" not in stream.getvalue()


def test_a_stream_that_is_closed_stops_nobody(configure: Configure) -> None:
    stream = configure("info")
    stream.close()
    logging.getLogger("any").error("nobody hears this")
