"""The retry quota: what retries cost, and that answers alone pay for them."""

from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.core.retry_quota import CAPACITY, RETRY_COST, THROTTLE_RETRY_COST, RetryQuota


def test_a_retry_costs_fourteen_and_a_throttle_retry_five() -> None:
    quota = RetryQuota()
    assert quota.take(throttled=False)
    assert quota.tokens == CAPACITY - 14
    assert quota.take(throttled=True)
    assert quota.tokens == CAPACITY - 19


def test_without_tokens_there_is_no_retry_and_nothing_is_paid() -> None:
    quota = RetryQuota(capacity=13)
    assert not quota.take(throttled=False)
    assert quota.tokens == 13


def test_fourteen_answers_pay_for_one_retry() -> None:
    quota = RetryQuota(capacity=14)
    assert quota.take(throttled=False)
    for _ in range(13):
        quota.answered()
    assert not quota.take(throttled=False)
    quota.answered()
    assert quota.take(throttled=False)


def test_a_retry_that_answers_gets_its_cost_back() -> None:
    quota = RetryQuota()
    for _ in range(100):
        quota.failed()
        assert quota.take(throttled=False)
        quota.answered(retried=True)
    assert quota.tokens == CAPACITY


def test_failures_take_what_answers_gave() -> None:
    quota = RetryQuota(capacity=20)
    for _ in range(30):
        quota.failed()
    assert quota.tokens == 0
    for _ in range(1000):
        quota.answered()
        quota.failed()
    assert not quota.take(throttled=True)


@given(st.lists(st.sampled_from(["answer", "fail", "retry", "throttle"]), max_size=500))
def test_retries_never_cost_more_than_the_bucket_and_the_answers_gave(events: list[str]) -> None:
    quota, paid, answers = RetryQuota(), 0, 0
    for event in events:
        if event == "answer":
            quota.answered()
            answers += 1
        elif event == "fail":
            quota.failed()
        elif quota.take(throttled=event == "throttle"):
            paid += THROTTLE_RETRY_COST if event == "throttle" else RETRY_COST
        assert paid <= CAPACITY + answers
        assert 0 <= quota.tokens <= CAPACITY
