"""The reader of queries takes what Prometheus takes, and refuses what it refuses."""

import pytest

from tests.promql import MalformedError, Selector, read

KNOWN = {"a_bucket": {"le", "role"}, "a_count": {"role", "outcome"}, "b": {"node"}, "c": {"node"}}


@pytest.mark.parametrize(
    "query",
    [
        'histogram_quantile(0.5, sum by (le, role) (rate(a_bucket{role=~"$role"}[5m]))) / 1e9',
        'sum(rate(a_count{outcome!="x"}[$__rate_interval])) / sum(rate(a_count[1h])) > 0.05',
        "min by (node) (b / c) < 0.05",
        "sum (increase(a_count[5m])) * 3600 + 1",
        'b{instance="x"}',
    ],
)
def test_what_prometheus_takes_is_taken(query: str) -> None:
    assert read(query, KNOWN)


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("sum(rate(a_count[5m])", "the end"),
        ("sum(rate(a_count[5m])))", "should be"),
        ("rate(a_count)", "vector"),
        ("sum(a_count[5m])", "range"),
        ("a_count[5m]", "no result"),
        ("rat(a_count[5m])", "unknown function rat"),
        ("sum by (node) (rate(a_count[5m]))", "no label node"),
        ('rate(a_count{node="x"}[5m])', "a_count has no label node"),
        ('b{node="x"} / a_count{node="x"}', "a_count has no label node"),
        ("b / a_count", "no series in common"),
        ("histogram_quantile(0.5, sum by (role) (rate(a_bucket[5m])))", "buckets"),
        ("histogram_quantile(sum(b), 0.5)", "wanted"),
        ("gone", "no metric gone"),
        ("b{node=~'x'}", "not understood"),
        ('b{node=~"("}', "unterminated"),
        ("b{node}", "no matcher"),
        ("b + ", "a value"),
        ("b b", "should be"),
        ("b[5x]", "not understood"),
        ("", "a value"),
    ],
)
def test_what_prometheus_refuses_is_refused(query: str, why: str) -> None:
    with pytest.raises(MalformedError, match=why):
        read(query, KNOWN)


def test_a_selector_takes_the_samples_that_it_names() -> None:
    (one,) = read('a_count{outcome=~"ok|recovered", role!="x"}', KNOWN)
    assert one == Selector("a_count", (("outcome", "=~", "ok|recovered"), ("role", "!=", "x")))
    assert one.selects("a_count", {"outcome": "ok"})
    assert not one.selects("a_count", {"outcome": "okay"})
    assert not one.selects("a_count", {"outcome": "ok", "role": "x"})
    assert not one.selects("b", {"outcome": "ok"})
