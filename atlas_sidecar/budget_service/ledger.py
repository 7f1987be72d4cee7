"""The ledger's decisions: a command and the books in, an answer and changed books out. Pure; a store keeps it.

Rules kept here (BUDGET.md, budget.proto):
- Fence capacity, never facts: a spend that happened is posted, whatever became of its lease, its sender or its day.
- Facts are contiguous by (incarnation, seq) but for Skip; those already applied are ignored, those after a gap wait.
- An attempt is posted at most once, ever.
- At every grant, on the node and each ancestor with a limit: settled + leased + suspense <= limit.
- A want is granted at most once; a stale sync_seq, a final or finished incarnation, gets no grant and no renewal.
- A lease is delivered to its own incarnation only, in every answer until the sidecar shows that it holds it.
- A lease leaves ACTIVE by its own sidecar's word, or after its expiry + its longest attempt + the clocks' skew.
- What cannot be applied is set aside, counts as applied, and an operator is told.
"""

from __future__ import annotations

from dataclasses import dataclass

from atlas_sidecar.budget_service import grants, tree
from atlas_sidecar.budget_service.books import (
    Books,
    Incarnation,
    IncarnationState,
    Known,
    LeaseState,
    Posted,
    SetAside,
    is_path,
    root_of,
    within,
)
from atlas_sidecar.budget_service.rules import Rules
from atlas_sidecar.budget_service.values import (
    Command,
    Fact,
    Finish,
    Grant,
    LedgerError,
    NodeStatus,
    OnLost,
    Outcome,
    Quarantined,
    Release,
    Reserve,
    SetBudget,
    Settle,
    Skip,
    Sweep,
    Swept,
    Sync,
    SyncDone,
)

MAX_ID_LENGTH = 200


def decide(books: Books, command: Command, now_ms: int, rules: Rules) -> Outcome:
    """Apply one command to the books; a LedgerError is returned, not raised, and has changed nothing."""
    try:
        if isinstance(command, Sync):
            return sync(books, command, now_ms, rules)
        if isinstance(command, Reserve):
            return reserve(books, command, now_ms, rules)
        if isinstance(command, SetBudget):
            return set_budget(books, command, now_ms)
        return sweep(books, command, now_ms, rules)
    except LedgerError as error:
        return error


def sync(books: Books, call: Sync, now_ms: int, rules: Rules) -> SyncDone:
    """Apply a sidecar's facts, then renew, recall and grant. Raises LedgerError PERMISSION_DENIED, INVALID_ARGUMENT."""
    grants.check_subtree(call.wants, call.subtree)
    sender = _sender(books, call.sidecar_id, call.incarnation)
    done = SyncDone(stale=call.sync_seq <= sender.sync_seq)
    named = apply_facts(books, call, sender, done, now_ms, rules)
    if not done.stale:
        sender.sync_seq, sender.last_seen_ms = call.sync_seq, now_ms
    if call.final and done.complete:
        sender.state = max(sender.state, IncarnationState.FINAL)
        _close_all(books, call.incarnation, now_ms)
    books.changed.incarnations[sender.incarnation] = sender
    if not done.stale and not call.final:
        grants.renew(books, call, done, now_ms, rules)
        grants.grant_wants(books, call, sender, done, now_ms, rules)
    done.applied_seq[call.incarnation] = sender.applied_seq
    named.update([want.budget for want in call.wants])
    named.update([books.leases[lease_id].node for lease_id in call.held if lease_id in books.leases])
    done.nodes = tree.views(books, [path for path in named if within(path, call.subtree)], now_ms)
    return done


def reserve(books: Books, call: Reserve, now_ms: int, rules: Rules) -> Outcome:
    """Grant a lease for one request, or say why not. Raises LedgerError as sync does."""
    grants.check_subtree((call.want,), call.subtree)
    sender = _sender(books, call.sidecar_id, call.incarnation)
    books.changed.incarnations[sender.incarnation] = sender
    answer = grants.grant(books, sender, call.want, now_ms, rules, exact=True)
    if isinstance(answer, Grant):
        sender.last_seen_ms = now_ms
    return answer


def set_budget(books: Books, call: SetBudget, now_ms: int) -> NodeStatus:
    """Create or replace a node's definition. Raises LedgerError INVALID_ARGUMENT, ABORTED (stale etag)."""
    return tree.set_budget(books, call, now_ms)


def sweep(books: Books, call: Sweep, now_ms: int, rules: Rules) -> Swept:
    """Move lost leases to suspense, or reclaim them, as their node's policy says."""
    suspended = reclaimed = amount = 0
    lost = [
        lease
        for leases in books.open.values()
        for lease in leases.values()
        if is_lost(lease.expires_at_ms, lease.longest_ms, now_ms, rules) and lease.state is LeaseState.ACTIVE
    ]
    for lease in sorted(lost, key=lambda each: each.lease_id)[: call.limit]:
        if books.policy_of(lease.node).on_lost is OnLost.RECLAIM and not lease.lossy:
            reclaimed, amount = reclaimed + 1, amount + lease.remainder
            books.move(lease, LeaseState.CLOSED, now_ms)
        else:
            suspended += 1
            books.move(lease, LeaseState.SUSPENDED, now_ms)
    return Swept(suspended, reclaimed, amount)


def is_lost(expires_at_ms: int, longest_ms: int, now_ms: int, rules: Rules) -> bool:
    """Whether a lease's holder can no longer have a request running on it, clocks' skew included."""
    return expires_at_ms + longest_ms + rules.skew_ms < now_ms


# ------------------------------------------------------------------------------------------- incarnations


def _sender(books: Books, sidecar_id: str, incarnation: str) -> Incarnation:
    known = books.incarnations.get(incarnation)
    if known is None:
        known = books.incarnations[incarnation] = Incarnation(incarnation, sidecar_id)
    elif known.sidecar_id != sidecar_id:
        raise grants.denied("this incarnation belongs to another sidecar_id")
    return known


def _close_all(books: Books, incarnation: str, now_ms: int) -> None:
    for lease in list(books.open.get(incarnation, {}).values()):
        books.move(lease, LeaseState.CLOSED, now_ms)


# ------------------------------------------------------------------------------------------- facts


@dataclass(frozen=True, slots=True)
class _Context:
    """What a fact is applied with."""

    call: Sync
    source: Incarnation
    fact: Fact
    now_ms: int
    rules: Rules


def apply_facts(books: Books, call: Sync, sender: Incarnation, done: SyncDone, now_ms: int, rules: Rules) -> set[str]:
    """Apply what can be applied of a Sync's facts, in order; return the nodes that they name."""
    named: set[str] = set()
    done.complete = len(call.facts) <= rules.max_facts
    for fact in call.facts[: rules.max_facts]:
        source = sender
        if fact.incarnation != call.incarnation:
            known = books.incarnations.get(fact.incarnation)
            source = known or Incarnation(fact.incarnation, call.sidecar_id, last_seen_ms=now_ms)
            books.incarnations[fact.incarnation] = source
            if source.sidecar_id != call.sidecar_id:
                _set_aside(books, done, call, fact, "it is of another sidecar's incarnation")
                continue
        done.applied_seq[fact.incarnation] = source.applied_seq
        first = fact.body.first if isinstance(fact.body, Skip) else fact.seq
        if fact.seq <= source.applied_seq:
            continue
        if first > source.applied_seq + 1:
            done.complete = False  # after a gap: it waits until what is missing arrives
            continue
        if isinstance(fact.body, Settle):
            named.add(fact.body.budget)
        problem = _apply(books, _Context(call, source, fact, now_ms, rules), done)
        if problem:
            _set_aside(books, done, call, fact, problem)
        source.applied_seq = done.applied_seq[fact.incarnation] = fact.seq
        books.changed.incarnations[source.incarnation] = source
    return named


def _set_aside(books: Books, done: SyncDone, call: Sync, fact: Fact, reason: str) -> None:
    entry = Quarantined(fact.incarnation, fact.seq, reason)
    done.quarantined.append(entry)
    books.changed.quarantine.append(SetAside(call.sidecar_id, entry, fact.raw))


def _apply(books: Books, context: _Context, done: SyncDone) -> str:
    """Apply one fact; return why it cannot be applied, or ""."""
    body = context.fact.body
    if isinstance(body, Settle):
        return _settle(books, context, body, done)
    if isinstance(body, Release):
        return _release(books, context, body)
    if isinstance(body, Finish):
        return _finish(books, context, body, done)
    if isinstance(body, Skip):
        return _skip(books, context, body)
    return body.reason


def _settle(books: Books, context: _Context, settle: Settle, done: SyncDone) -> str:
    problem = _problem(settle, context.call.subtree, context.rules)
    if problem:
        return problem
    posted = books.spend.get(settle.attempt_id)
    if posted is not None:
        same = posted.cost == settle.cost_nano_usd and posted.node == settle.budget
        return "" if same else "the attempt is on the ledger with another cost or budget"
    if books.ensure_node(settle.budget, context.rules.max_nodes) is None:
        return "unknown budget"
    root = root_of(settle.budget)
    lease = books.leases.get(settle.lease_id)
    if lease is not None and books.incarnations[lease.incarnation].sidecar_id != context.call.sidecar_id:
        lease = None  # its money is another sidecar's; the spend is a fact all the same
    today = books.today(root, context.now_ms)
    period = settle.period or (lease.period if lease else today.name)
    if books.day(root, period) is None:
        return "the period is no day"
    cost = settle.cost_nano_usd or 0
    books.settle(books.account(settle.budget, period), cost)
    if lease is not None:
        books.draw(lease, cost)
    books.spend[settle.attempt_id] = Known(settle.budget, settle.cost_nano_usd)
    books.changed.spend.append(Posted(settle, period, context.source.incarnation, context.fact.seq))
    done.posted += 1
    return ""


def _problem(settle: Settle, subtree: str, rules: Rules) -> str:
    if not 0 < len(settle.attempt_id) <= MAX_ID_LENGTH or "\0" in settle.attempt_id:
        return "the attempt_id is empty, longer than 200 characters or holds a NUL"
    if not is_path(settle.budget):
        return "the budget is no node path"
    if not within(settle.budget, subtree):
        return "the budget is outside the token's subtree"
    if not 0 <= (settle.cost_nano_usd or 0) <= rules.max_cost_nano_usd:
        return "the cost is negative or beyond what one attempt can cost"
    return ""


def _release(books: Books, context: _Context, release: Release) -> str:
    lease = books.leases.get(release.lease_id)
    if lease is None:
        return ""  # a lease that a failover lost, or one pruned long ago: nothing is held on it
    if books.incarnations[lease.incarnation].sidecar_id != context.call.sidecar_id:
        return "the lease is another sidecar's"
    books.move(lease, LeaseState.CLOSED, context.now_ms)
    return ""


def _finish(books: Books, context: _Context, finish: Finish, done: SyncDone) -> str:
    if finish.predecessor == context.source.incarnation or not 0 < len(finish.predecessor) <= MAX_ID_LENGTH:
        return "it finishes itself, or nobody"
    predecessor = books.incarnations.get(finish.predecessor)
    if predecessor is None:  # it never spoke here; whatever of it is still on its way gets no grant
        predecessor = Incarnation(finish.predecessor, context.call.sidecar_id, last_seen_ms=context.now_ms)
        books.incarnations[finish.predecessor] = predecessor
    elif predecessor.sidecar_id != context.call.sidecar_id:
        return "the predecessor is another sidecar's"
    predecessor.state = IncarnationState.FINISHED
    books.changed.incarnations[finish.predecessor] = predecessor
    # A failover may have lost what it reported: its successor, told how far we are, sends it again.
    done.applied_seq.setdefault(finish.predecessor, predecessor.applied_seq)
    _close_all(books, finish.predecessor, context.now_ms)
    return ""


def _skip(books: Books, context: _Context, skip: Skip) -> str:
    if not 1 <= skip.first <= context.fact.seq:
        return "it skips nothing"
    for lease in list(books.open.get(context.source.incarnation, {}).values()):
        lease.lossy = True
        books.changed.leases[lease.lease_id] = lease
        books.move(lease, LeaseState.SUSPENDED, context.now_ms)
    return ""
