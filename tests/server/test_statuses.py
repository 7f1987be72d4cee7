"""A status and its details must fit the 8 KiB that gRPC allows for all of a call's metadata."""

import base64
from urllib.parse import quote

import pytest
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status

from atlas_sidecar.core.errors import AtlasError, FieldViolation, Reason
from atlas_sidecar.server.statuses import Ending


@pytest.mark.parametrize("text", ["model-name, " * 2000, "\u6a21\u578b" * 2000, "%" * 20_000])
@pytest.mark.parametrize("count", [1, 50])
def test_long_messages_and_violations_still_fit_the_trailers(text: str, count: int) -> None:
    violations = tuple(FieldViolation(f"requirements.only_models[{i}]", text) for i in range(count))
    ending = Ending.of(AtlasError(Reason.UNKNOWN_MODEL, text, retry_after_s=1, violations=violations))
    [(key, details)] = ending.trailers
    assert len(key) + len(base64.b64encode(details)) + len(quote(ending.message)) < 8000
    bad = BadRequest()
    assert any(each.Unpack(bad) for each in Status.FromString(details).details)
    assert bad.field_violations[0].field == "requirements.only_models[0]"
    assert text.startswith(bad.field_violations[0].description)


def test_a_short_message_is_kept_whole() -> None:
    assert Ending(Reason.INTERNAL, "caf\u00e9 100 %").message == "caf\u00e9 100 %"
