"""Fuzzes the SSE parser: `make fuzz` (atheris below 3.1, which knows Python 3.11, in a venv of its own).

Two oracles: any split of the bytes gives the same events as the whole, and a plain line-by-line reading of the standard
gives the same events too. The buffer never grows beyond its bound.
"""

import sys

import atheris

with atheris.instrument_imports(include=["atlas_sidecar.adapters.providers.wire"]):
    from atlas_sidecar.adapters.providers.wire.sse import SseOverflowError, SseParser

BOUND = 512


def plain(stream: bytes) -> list[tuple[bytes, bytes]]:
    """Read the whole stream by the standard's steps, slowly; a last event without its blank line counts too."""
    stream = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events: list[tuple[bytes, bytes]] = []
    name, data = b"", []
    for line in [*stream.split(b"\n"), b""]:
        if not line:
            if data:
                events.append((name, b"\n".join(data)))
            name, data = b"", []
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            name = value
        elif field == b"data":
            data.append(value)
    return events


def one_input(raw: bytes) -> None:
    """Split the input at places it names itself, and compare."""
    provider = atheris.FuzzedDataProvider(raw)
    pieces = []
    while provider.remaining_bytes() and len(pieces) < 200:
        pieces.append(provider.ConsumeBytes(provider.ConsumeIntInRange(0, 40)))
    stream = b"".join(pieces)
    parser = SseParser()
    split = [event for piece in pieces for event in parser.feed(piece)] + parser.close()
    whole = SseParser()
    if [tuple(event) for event in split] != [tuple(event) for event in whole.feed(stream) + whole.close()]:
        raise AssertionError("the split matters")
    if [tuple(event) for event in split] != plain(stream):
        raise AssertionError("not what the standard says")
    bounded = SseParser(BOUND)
    try:
        for piece in pieces:
            bounded.feed(piece)
            if len(bounded._buffer) > BOUND:
                raise AssertionError("the buffer grew beyond its bound")
    except SseOverflowError:
        pass


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
