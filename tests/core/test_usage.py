"""Token counts: what can be believed of what a provider reports."""

from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.core.types import Usage

COUNTS = st.one_of(st.none(), st.integers(-(10**30), 10**30), st.integers(0, 2000))
USAGES = st.builds(Usage, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)


@given(USAGES)
def test_no_direction_is_believed_beyond_its_most_and_what_is_within_stays(usage: Usage) -> None:
    bounded = usage.bounded()
    told = bounded.believed(1000, 500)
    assert told.total_input_tokens <= 1000
    assert told.total_output_tokens <= 500
    if bounded.total_input_tokens <= 1000:
        assert told.total_input_tokens == bounded.total_input_tokens
    else:
        assert told.input_tokens is told.cache_read_tokens is told.cache_write_tokens is None
    if bounded.total_output_tokens <= 500:
        assert told.total_output_tokens == bounded.total_output_tokens
    else:
        assert not told.reported


def test_reasoning_counts_as_output_and_cached_input_as_input() -> None:
    usage = Usage(400, 400, 400, 300, 300)
    assert usage.believed(1000, 1000) == Usage(None, None, None, 300, 300)
    assert usage.believed(2000, 500) == Usage(400, 400, 400, None, None)
