"""Reads PromQL as far as our dashboards and rules use it: does a query parse, and is what it asks for there?

Rules kept here:
- What is not known here is malformed: a new function or operator is added when a query needs it.
- A value is known by its labels, as Prometheus would have them: a selector has its metric's own, an aggregation those
  that it names. So a label of one metric is not taken for one of another, and sides without a common series are seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Final, NamedTuple

TOKEN: Final = re.compile(
    r'\s*(?:(?P<number>\d+(?:\.\d+)?(?:e\d+)?)|(?P<text>"(?:[^"\\]|\\.)*")|(?P<name>[a-zA-Z_]\w*)'
    r"|(?P<range>\[(?:\d+[smhd]|\$__rate_interval)\])|(?P<sign>==|!=|<=|>=|=~|!~|[-+*/(){},<>=]))"
)
AGGREGATIONS: Final = {"sum", "min", "max"}
OF_RANGES: Final = {"rate", "increase"}
LEVELS: Final = (("==", "!=", "<", ">", "<=", ">="), ("+", "-"), ("*", "/"))  # from the weakest
OF_EVERY_SERIES: Final = frozenset({"instance", "job"})  # added by Prometheus


class MalformedError(ValueError):
    """Prometheus would refuse the query, or find nothing; the message says why."""


class Selector(NamedTuple):
    """`metric{label op "value", ...}`."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]

    def selects(self, metric: str, labels: Mapping[str, str]) -> bool:
        """Return whether a sample is asked for; a label that is not there is ""."""
        return metric == self.metric and all(
            ((re.fullmatch(value, told) is not None) if "~" in op else told == value) is (op[0] == "=")
            for label, op, value in self.matchers
            for told in (labels.get(label, ""),)
        )


class Value(NamedTuple):
    """What an expression gives: "number", "vector" or "range", and the labels of its series."""

    kind: str
    labels: frozenset[str] = frozenset()


def read(query: str, known: Mapping[str, Set[str]]) -> list[Selector]:
    """Return the selectors of a query, in order. `known`: metric -> its labels. Raises MalformedError."""
    reader = _Reader(query, known)
    if reader.level(0).kind == "range":
        raise MalformedError("a range is no result")
    reader.expect("")
    return reader.selectors


class _Reader:
    def __init__(self, query: str, known: Mapping[str, Set[str]]) -> None:
        self.known = known
        self.selectors: list[Selector] = []
        self.tokens: list[tuple[str, str]] = []
        at, end = 0, len(query.rstrip())
        while at < end:
            match = TOKEN.match(query, at)
            if match is None or match.lastgroup is None:
                raise MalformedError(f"not understood: {query[at:]!r}")
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()
        self.tokens.append(("end", ""))

    def take(self) -> tuple[str, str]:
        return self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]

    def expect(self, sign: str) -> None:
        kind, text = self.take()
        if text != sign or kind not in ("sign", "end"):
            raise MalformedError(f"{text or 'the end'!r} where {sign or 'the end'!r} should be")

    def accept(self, *signs: str) -> bool:
        if self.tokens[0][0] in ("sign", "name") and self.tokens[0][1] in signs:
            self.take()
            return True
        return False

    def level(self, number: int) -> Value:
        """Read an expression of operators as strong as LEVELS[number] and stronger ones."""
        if number == len(LEVELS):
            return self.operand()
        left = self.level(number + 1)
        while self.accept(*LEVELS[number]):
            right = self.level(number + 1)
            if "range" in (left.kind, right.kind):
                raise MalformedError("an operator between ranges")
            if left.kind == right.kind == "vector" and left.labels != right.labels:
                raise MalformedError(f"no series in common: {sorted(left.labels)}, {sorted(right.labels)}")
            left = left if left.kind == "vector" else right
        return left

    def operand(self) -> Value:
        kind, text = self.take()
        if kind == "number":
            return Value("number")
        if text == "(":
            inner = self.level(0)
            self.expect(")")
            return inner
        if kind != "name":
            raise MalformedError(f"{text or 'the end'!r} where a value should be")
        if text in AGGREGATIONS:
            return self.aggregation()
        if self.tokens[0][1] == "(":
            return self.call(text)
        return self.selector(text)

    def aggregation(self) -> Value:
        kept = frozenset(self.names()) if self.accept("by") else frozenset()
        of = self.arguments("vector")[0]
        if missing := kept - of.labels:
            raise MalformedError(f"no label {', '.join(sorted(missing))} to aggregate by")
        return Value("vector", kept)

    def call(self, function: str) -> Value:
        if function in OF_RANGES:
            return Value("vector", self.arguments("range")[0].labels)
        if function == "histogram_quantile":
            labels = self.arguments("number", "vector")[1].labels
            if "le" not in labels:
                raise MalformedError("a quantile of what has no buckets (le)")
            return Value("vector", labels - {"le"})
        raise MalformedError(f"unknown function {function}")

    def arguments(self, *kinds: str) -> list[Value]:
        self.expect("(")
        given = [self.level(0)]
        while self.accept(","):
            given.append(self.level(0))
        self.expect(")")
        if tuple(one.kind for one in given) != kinds:
            raise MalformedError(f"{[one.kind for one in given]} given where {list(kinds)} is wanted")
        return given

    def names(self) -> list[str]:
        self.expect("(")
        found = [self.take()[1]]
        while self.accept(","):
            found.append(self.take()[1])
        self.expect(")")
        return found

    def selector(self, metric: str) -> Value:
        if metric not in self.known:
            raise MalformedError(f"no metric {metric}")
        labels = frozenset(self.known[metric]) | OF_EVERY_SERIES
        matchers = self.matchers() if self.accept("{") else ()
        if missing := {label for label, _, _ in matchers} - labels:
            raise MalformedError(f"{metric} has no label {', '.join(sorted(missing))}")
        self.selectors.append(Selector(metric, matchers))
        if self.tokens[0][0] != "range":
            return Value("vector", labels)
        self.take()
        return Value("range", labels)

    def matchers(self) -> tuple[tuple[str, str, str], ...]:
        found: list[tuple[str, str, str]] = []
        while not found or self.accept(","):
            (kind, label), (_, op), (quoted, value) = self.take(), self.take(), self.take()
            if (kind, quoted) != ("name", "text") or op not in ("=", "!=", "=~", "!~"):
                raise MalformedError(f"no matcher: {label}{op}{value}")
            try:
                re.compile(value[1:-1] if "~" in op else "")
            except re.error as error:
                raise MalformedError(f"{value}: {error}") from None
            found.append((label, op, value[1:-1]))
        self.expect("}")
        return tuple(found)
