"""Who gets a lease, how large, and how long it lives.

Rules kept here:
- L = min(R, max(r_max, min(want, R / (2 x max(1, N))))): R is the headroom at the tightest ancestor, N counts ACTIVE
  leases there and the asker; a share is taken at every limited ancestor, the smallest holds (BUDGET.md, "Lease size").
- R < N x r_max is tail mode: too little for every sidecar to hold a lease, so each request asks by Reserve, in turn.
- A lease never outlives its period. Money promised beyond a lowered limit is called back, and not renewed.
"""

from __future__ import annotations

from collections.abc import Iterable

from atlas_sidecar.budget_service.books import (
    Account,
    Books,
    Incarnation,
    IncarnationState,
    Lease,
    LeaseState,
    is_path,
    lease_id_of,
    root_of,
    within,
)
from atlas_sidecar.budget_service.periods import Span
from atlas_sidecar.budget_service.rules import Rules
from atlas_sidecar.budget_service.values import (
    Denial,
    DenialReason,
    Grant,
    LedgerError,
    LedgerErrorCode,
    Sync,
    SyncDone,
    Want,
)


def denied(message: str) -> LedgerError:
    """Make the error of a caller that names what is not its own."""
    return LedgerError(LedgerErrorCode.PERMISSION_DENIED, message)


def check_subtree(wants: Iterable[Want], subtree: str) -> None:
    """Raise LedgerError when a want names no node path, or one that the token may not name."""
    for want in wants:
        if not is_path(want.budget):
            raise LedgerError(LedgerErrorCode.INVALID_ARGUMENT, f"{want.budget[:80]!r} is no node path")
        if not within(want.budget, subtree):
            raise denied(f"{want.budget!r} is outside the token's subtree {subtree!r}")


def renew(books: Books, call: Sync, done: SyncDone, now_ms: int, rules: Rules) -> None:
    """Renew the leases that a sidecar holds, call back those it should not, deliver again those it did not show."""
    held = set(call.held)
    for lease_id in held:
        lease = books.leases.get(lease_id)
        if lease is None or lease.incarnation != call.incarnation or lease.state is not LeaseState.ACTIVE:
            done.recalled.append(lease_id)
    for lease in list(books.open.get(call.incarnation, {}).values()):
        if lease.state is not LeaseState.ACTIVE:
            continue
        today = books.today(root_of(lease.node), now_ms)
        if lease.period != today.name or _overdrawn(books.account(lease.node, lease.period)):
            done.recalled.append(lease.lease_id)
            continue
        done.grants.append(_deliver(books, lease, today, now_ms, rules))


def _overdrawn(account: Account) -> bool:
    for each in account.chain:
        room = each.headroom
        if room is not None and room < 0:
            return True
    return False


def _deliver(books: Books, lease: Lease, today: Span, now_ms: int, rules: Rules) -> Grant:
    """Renew a lease; its ttl ends with its period at the latest."""
    ttl_ms = min(rules.ttl_ms, today.ends_at_ms - now_ms)
    lease.expires_at_ms = max(lease.expires_at_ms, now_ms + ttl_ms)
    books.changed.leases[lease.lease_id] = lease
    return Grant(lease.lease_id, lease.want_id, lease.node, lease.period, lease.amount, ttl_ms)


def grant_wants(books: Books, call: Sync, sender: Incarnation, done: SyncDone, now_ms: int, rules: Rules) -> None:
    """Answer a Sync's wants, in their order."""
    delivered = {each.lease_id for each in done.grants}
    for want in call.wants:
        if delivered and lease_id_of(sender.incarnation, want.want_id) in delivered:
            continue
        answer = grant(books, sender, want, now_ms, rules, exact=False)
        if isinstance(answer, Grant):
            done.grants.append(answer)
        else:
            done.denials.append(answer)


def grant(books: Books, sender: Incarnation, want: Want, now_ms: int, rules: Rules, *, exact: bool) -> Grant | Denial:
    """Answer one want: `exact` for a Reserve, which gets what it needs or nothing."""
    lease_id = lease_id_of(sender.incarnation, want.want_id)
    known = books.leases.get(lease_id)
    if sender.state is not IncarnationState.OPEN or (known is not None and known.state is not LeaseState.ACTIVE):
        return Denial(want.want_id, want.budget, DenialReason.UNSPECIFIED)
    if books.ensure_node(want.budget, rules.max_nodes) is None:
        return Denial(want.want_id, want.budget, DenialReason.UNKNOWN_BUDGET)
    today = books.today(root_of(want.budget), now_ms)
    if known is not None:
        if known.period != today.name:
            return Denial(want.want_id, want.budget, DenialReason.UNSPECIFIED)
        return _deliver(books, known, today, now_ms, rules)
    if not want.amount_nano_usd and not want.minimum_nano_usd:  # it only asks how the node stands
        return Denial(want.want_id, want.budget, DenialReason.UNSPECIFIED)
    account = books.account(want.budget, today.name)
    amount, reason, out = _exact(account, want) if exact else _share(account, want, _own(books, sender, today.name))
    if reason is not None:
        return Denial(want.want_id, out.node, reason, today.ends_at_ms)
    longest_ms = min(want.longest_ms or rules.longest_ms, rules.max_longest_ms)
    lease = Lease(lease_id, sender.incarnation, want.want_id, want.budget, today.name, amount, longest_ms, now_ms)
    books.open_lease(lease)
    return _deliver(books, lease, today, now_ms, rules)


def _exact(account: Account, want: Want) -> tuple[int, DenialReason | None, Account]:
    """Return what a Reserve gets: its amount, or less where its minimum allows that."""
    room, tightest = headroom(account)
    if room is None:
        return want.amount_nano_usd, None, account
    if room < (want.minimum_nano_usd or want.amount_nano_usd) or room < 0:
        return 0, DenialReason.EXHAUSTED, tightest
    return min(room, want.amount_nano_usd), None, account


def _own(books: Books, sender: Incarnation, period: str) -> list[str]:
    """Return the nodes of the asker's own ACTIVE leases: it counts once among the holders."""
    leases = books.open.get(sender.incarnation, {}).values()
    return [lease.node for lease in leases if lease.state is LeaseState.ACTIVE and lease.period == period]


def _share(account: Account, want: Want, own: list[str]) -> tuple[int, DenialReason | None, Account]:
    """Return what a Sync's want gets by the lease size formula."""
    size = max(want.amount_nano_usd, want.minimum_nano_usd)
    room, tightest = headroom(account)
    if room is None:
        return size, None, account
    if room <= 0:
        return 0, DenialReason.EXHAUSTED, tightest
    share = want.amount_nano_usd
    for each in account.chain:
        if each.headroom is None:
            continue
        holders = each.active + 1 - sum(within(node, each.node) for node in own)
        if each.headroom < holders * want.minimum_nano_usd:
            return 0, DenialReason.USE_RESERVE, each
        share = min(share, each.headroom // (2 * holders))
    size = min(room, max(want.minimum_nano_usd, share))
    return (size, None, account) if size > 0 else (0, DenialReason.USE_RESERVE, tightest)


def headroom(account: Account) -> tuple[int | None, Account]:
    """Return the headroom at the tightest node of the chain, and that node's account; None = no limit."""
    room: int | None = None
    tightest = account
    for each in account.chain:
        own = each.headroom
        if own is not None and (room is None or own < room):
            room, tightest = own, each
    return room, tightest
