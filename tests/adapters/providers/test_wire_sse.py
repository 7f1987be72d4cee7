"""The event-stream parser on any split of any bytes, held against a plain reading of the standard."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.adapters.providers.wire.sse import SseEvent, SseOverflowError, SseParser
from tests.adapters.replay import splits


def parse(*pieces: bytes) -> list[SseEvent]:
    parser = SseParser()
    return [event for piece in pieces for event in parser.feed(piece)] + parser.close()


def plain(stream: bytes) -> list[tuple[bytes, bytes]]:
    """Read a whole stream by the standard's steps; a last event without its blank line counts too."""
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events: list[tuple[bytes, bytes]] = []
    name, data = b"", list[bytes]()
    for line in [*text.split(b"\n"), b""]:
        if not line:
            if data:
                events.append((name, b"\n".join(data)))
            name, data = b"", []
            continue
        field, _, value = line.partition(b":")
        if field == b"event":
            name = value.removeprefix(b" ")
        elif field == b"data":
            data.append(value.removeprefix(b" "))
    return events


LINES = st.sampled_from(
    [
        *(b"data: x", b"data:y", b"data", b"data: caf\xc3\xa9 \xf0\x9f\x98\x80", b'data: {"a":"b\\n"}', b" data: x"),
        *(b"event: error", b"event", b"id: 1", b"retry: 10", b": comment", b"", b"", b"unknown: z", b"\xef\xbb\xbf"),
    ]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
STREAMS = st.lists(st.tuples(LINES, ENDS), max_size=30).map(lambda lines: b"".join(a + b for a, b in lines))


@given(st.one_of(STREAMS, st.binary(max_size=200)), st.integers(0, 2**32), st.booleans())
def test_any_split_gives_the_events_that_the_standard_says(stream: bytes, seed: int, bom: bool) -> None:
    stream = b"\xef\xbb\xbf" + stream if bom else stream
    expected = plain(stream)
    assert [tuple(event) for event in parse(*splits(stream, seed))] == expected
    assert [tuple(event) for event in parse(stream)] == expected
    assert [tuple(event) for event in parse(*[stream[at : at + 1] for at in range(len(stream))])] == expected


def test_an_event_is_given_as_soon_as_its_blank_line_is_there() -> None:
    parser = SseParser()
    assert parser.feed(b"data: 1\n") == []
    assert parser.feed(b"\ndata: 2") == [SseEvent(b"", b"1")]
    assert parser.feed(b"\r\n\r") == [SseEvent(b"", b"2")]
    assert parser.feed(b"\nevent: e\ndata: 3\n\n") == [SseEvent(b"e", b"3")]


def test_a_last_event_without_its_blank_line_is_given_at_the_end() -> None:
    parser = SseParser()
    assert parser.feed(b"data: [DONE]") == []
    assert parser.close() == [SseEvent(b"", b"[DONE]")]
    assert parser.close() == []


def test_an_event_beyond_the_bound_is_refused_and_not_kept() -> None:
    parser = SseParser(max_event_bytes=100)
    assert parser.feed(b"data: " + b"x" * 90) == []
    with pytest.raises(SseOverflowError):
        parser.feed(b"x" * 20)


def test_a_long_event_in_small_reads_costs_linear_time() -> None:
    def seconds(size: int) -> float:
        parser = SseParser()
        started = time.process_time()
        for _ in range(size):
            parser.feed(b"x" * 64)
        return time.process_time() - started

    seconds(1_000)
    small, large = min(seconds(4_000) for _ in range(3)), min(seconds(32_000) for _ in range(3))
    assert large < 8 * small * 4 + 0.05
