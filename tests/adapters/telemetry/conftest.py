"""What holds for every trace of these tests, however the call ended."""

from collections.abc import Iterator

import pytest

from tests.adapters.telemetry.trees import Keeper


@pytest.fixture(autouse=True)
def usage_and_cost_are_on_the_spans_that_ask_a_model_and_nowhere_else() -> Iterator[None]:
    Keeper.made.clear()
    yield
    assert [wrong for keeper in Keeper.made for wrong in keeper.misplaced()] == []
