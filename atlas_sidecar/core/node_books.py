"""What the service last said of the budget nodes: limits, spend, policies, and who is out.

Rules kept here:
- A node is as tight as its tightest ancestor: what holds for it is the least of its chain.
- No limit is believed for `trust_s` after the service said so: afterwards the node needs a lease like any other.
- A denial is remembered for `denial_s`, when it is repeated twice as long, up to `longest_denial_s`, and no longer than
  until the service says that there is room: a raised limit is felt soon, and an exhausted fleet does not storm the
  service. A smaller hold may still ask.
- The period's name and end are the service's; past the end it is counted on by days until the service speaks again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from atlas_sidecar.core.periods import period_after
from atlas_sidecar.core.sync import Denial, DenialReason, NodePolicy, NodeState

MAX_NODES: Final = 1024
# As the service takes them: one bad path in a Sync would be refused with everything else in it.
NODE_PATH: Final = re.compile(r"(?=.{1,256}\Z)[A-Za-z0-9._@:+-]{1,64}(/[A-Za-z0-9._@:+-]{1,64}){0,7}")


class Tightness(NamedTuple):
    """The least of a chain. None = no limit; `node`: the one with the least remaining."""

    node: str
    limit_nano_usd: int | None
    remaining_nano_usd: int | None
    free_nano_usd: int | None
    spent_nano_usd: int


class _Denied(NamedTuple):
    denial: Denial
    amount_nano_usd: int
    until_s: float
    lasts_s: float


def chain_of(node: str) -> list[str]:
    """Return a node and its ancestors, the root last."""
    chain = [node]
    while "/" in node:
        node = node.rpartition("/")[0]
        chain.append(node)
    return chain


class NodeBooks:
    """The service's word on nodes, with when it was given (seconds since boot)."""

    def __init__(self, trust_s: float = 90.0, denial_s: float = 1.0, longest_denial_s: float = 15.0) -> None:
        self._trust_s = trust_s
        self._longest_denial_s = longest_denial_s
        self._denial_s = denial_s
        self._states: dict[str, tuple[NodeState, float]] = {}
        self._chains: dict[str, tuple[NodeState, ...]] = {}
        self._denied: dict[str, _Denied] = {}

    def __repr__(self) -> str:
        return f"NodeBooks({sorted(self._states)}, denied={sorted(self._denied)})"

    def update(self, states: Iterable[NodeState], now_s: float) -> None:
        """Take the service's word, as of a call sent at `now_s`."""
        for state in states:
            self._states.pop(state.node, None)
            self._states[state.node] = (state, now_s)
        while len(self._states) > MAX_NODES:
            del self._states[next(iter(self._states))]
        self._chains.clear()
        for node, denied in list(self._denied.items()):
            least = self.tightest(node)
            if least is not None and (least.free_nano_usd is None or least.free_nano_usd >= denied.amount_nano_usd > 0):
                del self._denied[node]

    def knows(self, node: str) -> bool:
        """Return whether the service ever spoke of this node."""
        return node in self._states

    def said_s(self, node: str) -> float:
        """Return when it last did, -inf = never."""
        entry = self._states.get(node)
        return entry[1] if entry else float("-inf")

    def state(self, node: str) -> NodeState | None:
        """Return its last word on a node."""
        entry = self._states.get(node)
        return entry[0] if entry else None

    def unlimited(self, node: str, now_s: float) -> bool:
        """Return whether neither the node nor an ancestor has a limit, as far as that is fresh."""
        if now_s - self.said_s(node) >= self._trust_s:
            return False
        return all(state.limit_nano_usd is None for state in self._chain(node))

    def tightest(self, node: str) -> Tightness | None:
        """Return the least of a node's chain, None before the service spoke of it."""
        if node not in self._states:
            return None
        least = Tightness(node, None, None, None, self._states[node][0].spent_nano_usd)
        for state in self._chain(node):
            limit, free = state.limit_nano_usd, state.free_nano_usd
            if limit is None or free is None:
                continue
            remaining = limit - state.spent_nano_usd
            free = free if least.free_nano_usd is None else min(free, least.free_nano_usd)
            if least.remaining_nano_usd is None or remaining < least.remaining_nano_usd:
                least = Tightness(state.node, limit, remaining, free, state.spent_nano_usd)
            else:
                least = least._replace(free_nano_usd=free)
        return least

    def policy(self, node: str) -> NodePolicy | None:
        """Return the policy that holds for a node, None when the service has said none."""
        return next((state.policy for state in self._chain(node) if state.policy is not None), None)

    def period(self, node: str, unix_s: float) -> str | None:
        """Return the name of the node's period, None before the service spoke of it."""
        state = self.state(node)
        if state is None or not state.period:
            return None
        return period_after(state.period, state.period_ends_unix_s or float("inf"), unix_s)

    def deny(self, node: str, amount: int, denial: Denial, now_s: float) -> None:
        """Remember for a moment that this much was not to be had at this node."""
        old = self._denied.pop(node, None)
        lasts_s = self._denial_s
        if old is not None and now_s < old.until_s:
            lasts_s = old.lasts_s
        elif old is not None and now_s < old.until_s + 2 * old.lasts_s:
            lasts_s = min(self._longest_denial_s, 2 * old.lasts_s)
        self._denied[node] = _Denied(denial, amount, now_s + lasts_s, lasts_s)
        if len(self._denied) > MAX_NODES:
            del self._denied[next(iter(self._denied))]

    def denied(self, node: str, amount: int, now_s: float) -> Denial | None:
        """Return the denial that still answers for this amount."""
        found = self._denied.get(node)
        if found is None or now_s >= found.until_s:
            return None
        if found.denial.reason is DenialReason.EXHAUSTED and amount < found.amount_nano_usd:
            return None
        return found.denial

    def allow(self, nodes: Iterable[str]) -> None:
        """Forget denials at these nodes: something was granted there."""
        for node in nodes:
            self._denied.pop(node, None)

    def _chain(self, node: str) -> tuple[NodeState, ...]:
        chain = self._chains.get(node)
        if chain is None:
            if len(self._chains) >= MAX_NODES:
                self._chains.clear()
            chain = tuple(self._states[name][0] for name in chain_of(node) if name in self._states)
            self._chains[node] = chain
        return chain
