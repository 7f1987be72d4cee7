"""Facts on their way to the ledger: numbered once, sent until applied, kept a while longer.

Rules kept here:
- One line per incarnation: the predecessors' first, in the order in which they ran, then the own. Within a line
  numbers are contiguous but for Skip. A line's facts are sent before the next line's, so that a Finish follows what
  it finishes.
- The ledger's word counts, also when it goes back (a failover lost what it had applied): what is still kept is sent
  again, what is not is skipped. Applied facts are kept `keep_s` for that, and never more than `max_kept`.
- A line that may lack its end is closed by a Skip right behind what the ledger has, once the ledger has said how far
  it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from atlas_sidecar.core.spend_records import Fact, FactBody, Skip


@dataclass(slots=True)
class _Line:
    """One incarnation's facts. `applied`: the ledger's word, None before it has spoken."""

    incarnation: str
    lossy: bool = False
    pending: deque[Fact] = field(default_factory=deque)
    kept: deque[tuple[float, Fact]] = field(default_factory=deque)
    applied: int | None = None
    last_seq: int = 0

    @property
    def done(self) -> bool:
        return not self.pending and not self.lossy


class Outbox:
    """Every fact that the ledger may still need from this sidecar."""

    def __init__(self, incarnation: str, keep_s: float = 900.0, max_kept: int = 20_000) -> None:
        self._keep_s = keep_s
        self._max_kept = max_kept
        self._own = _Line(incarnation, applied=0)
        self._past: list[_Line] = []
        self._added_s: deque[float] = deque()

    def __repr__(self) -> str:
        return f"Outbox({self.pending} pending, applied={self.applied}, {len(self._past)} predecessors)"

    def take_over(self, incarnation: str, facts: Iterable[Fact], *, lossy: bool) -> None:
        """Add a predecessor's line, oldest predecessor first; `lossy`: its end may be missing."""
        line = _Line(incarnation, lossy, deque(facts))
        line.last_seq = line.pending[-1].seq if line.pending else 0
        self._past.append(line)

    def add(self, body: FactBody, now_s: float) -> Fact:
        """Give what happened the next number."""
        own = self._own
        own.last_seq += 1
        fact = Fact(own.incarnation, own.last_seq, body)
        own.pending.append(fact)
        self._added_s.append(now_s)
        return fact

    @property
    def pending(self) -> int:
        """How many facts the ledger has not confirmed."""
        own = len(self._own.pending)
        return own + sum(len(line.pending) + line.lossy for line in self._past) if self._past else own

    @property
    def own_pending(self) -> int:
        """How many of them are of this incarnation."""
        return len(self._own.pending)

    @property
    def applied(self) -> int:
        """Up to which own fact the ledger is."""
        return self._own.applied or 0

    @property
    def oldest_s(self) -> float | None:
        """When the oldest own fact that is not confirmed was added, None without one; -inf for a predecessor's."""
        if any(not line.done for line in self._past):
            return float("-inf")
        return self._added_s[0] if self._added_s else None

    def batch(self, limit: int) -> tuple[Fact, ...]:
        """Return the facts to send next, at most `limit`, in the order in which they must be applied."""
        facts: list[Fact] = []
        for line in (*self._past, self._own):
            for fact in line.pending:
                if len(facts) >= limit:
                    return tuple(facts)
                facts.append(fact)
            if line.lossy and not line.pending:
                following = (line.last_seq if line.applied is None else line.applied) + 1
                facts.append(Fact(line.incarnation, following, Skip(following)))
        return tuple(facts[:limit])

    def acknowledge(self, sent: Iterable[Fact], applied: Mapping[str, int], now_s: float) -> None:
        """Take the ledger's word for a batch that was sent: up to where each incarnation's facts are applied."""
        skips = {fact.incarnation: fact.seq for fact in sent if isinstance(fact.body, Skip)} if self._past else {}
        for line in (*self._past, self._own):
            seq = applied.get(line.incarnation)
            if seq is None:
                continue
            known = line.applied
            if known is not None and seq < known:
                self._go_back(line, seq)
            line.applied = seq
            closing = line.lossy and not line.pending  # then what was sent of it was its closing Skip
            while line.pending and line.pending[0].seq <= seq:
                line.kept.append((now_s, line.pending.popleft()))
                if line is self._own:
                    self._added_s.popleft()
            if closing and known is not None and seq == known + 1 == skips.get(line.incarnation):
                line.lossy = False
        self._trim(now_s)

    def forgettable(self) -> list[tuple[str, int]]:
        """Return up to which number each incarnation's facts are needed no longer, on disk neither."""
        floors = [(line.incarnation, _floor(line)) for line in (*self._past, self._own)]
        gone = [line for line in self._past if line.done and not line.kept]
        self._past = [line for line in self._past if line not in gone]
        return [(incarnation, seq) for incarnation, seq in floors if seq > 0] + [
            (line.incarnation, max(line.last_seq, line.applied or 0)) for line in gone
        ]

    def _go_back(self, line: _Line, seq: int) -> None:
        """The ledger has less than it said: queue again what is kept, and skip what is not."""
        again = [fact for _, fact in line.kept if fact.seq > seq]
        line.kept = deque((at_s, fact) for at_s, fact in line.kept if fact.seq <= seq)
        first = again[0].seq if again else (line.pending[0].seq if line.pending else (line.applied or 0) + 1)
        if again and isinstance(again[0].body, Skip):
            first = again[0].body.first
        if first > seq + 1:
            again.insert(0, Fact(line.incarnation, first - 1, Skip(seq + 1)))
        line.pending.extendleft(reversed(again))
        if line is self._own:
            self._added_s.extendleft([float("-inf")] * len(again))

    def _trim(self, now_s: float) -> None:
        for line in (*self._past, self._own):
            while line.kept and (line.kept[0][0] <= now_s - self._keep_s or len(line.kept) > self._max_kept):
                line.kept.popleft()


def _floor(line: _Line) -> int:
    """Return the number before the first fact that is kept or pending."""
    if line.kept:
        return line.kept[0][1].seq - 1
    if line.pending:
        return line.pending[0].seq - 1
    return line.applied or 0
