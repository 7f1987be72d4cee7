"""The way to a budget service that is the real ledger in memory: a fake behind the port, with a line that can be cut.

Calls can be lost on their way, and answers on their way back; both look the same to the sidecar.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from atlas_sidecar.budget_service import values as service
from atlas_sidecar.budget_service.books import Books
from atlas_sidecar.budget_service.ledger import decide
from atlas_sidecar.budget_service.rules import Rules
from atlas_sidecar.core.spend_records import Fact, FactBody, Finish, Release, Settle, Skip
from atlas_sidecar.core.sync import (
    Denial,
    DenialReason,
    Grant,
    NodePolicy,
    NodeState,
    Quarantined,
    SyncAnswer,
    SyncCall,
    Want,
)
from atlas_sidecar.ports import GatewayError

USD = 1_000_000_000


@dataclass
class Ledger:
    """The service's books and what happens on the line to it."""

    now_ms: Callable[[], int]
    books: Books = field(default_factory=Books)
    rules: Rules = field(default_factory=Rules)
    syncs: list[SyncCall] = field(default_factory=list)
    reserves: list[Want] = field(default_factory=list)

    def set_budget(
        self, node: str, limit: int | None, *, zone: str = "", policy: service.Policy = service.NO_POLICY
    ) -> None:
        answer = decide(self.books, service.SetBudget(node, limit, zone, policy), self.now_ms(), self.rules)
        assert isinstance(answer, service.NodeStatus), answer

    def spend(self) -> dict[str, tuple[str, int | None]]:
        """Every attempt on the ledger: its node and cost."""
        return {attempt_id: (known.node, known.cost) for attempt_id, known in self.books.spend.items()}

    def account(self, node: str) -> tuple[int, int, int]:
        """Settled, leased and suspense of a node in the running period."""
        today = self.books.today(node.partition("/")[0], self.now_ms())
        account = self.books.account(node, today.name)
        return account.settled, account.leased, account.suspense


class LedgerGateway:
    """Implements ports.BudgetGateway over a Ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.cut = False
        self.lose_answers = False
        self.refuse = ""
        self.closed = False

    async def sync(self, call: SyncCall, timeout_s: float) -> SyncAnswer:
        self._pass()
        ledger = self.ledger
        ledger.syncs.append(call)
        command = service.Sync(
            call.sidecar_id,
            call.incarnation,
            call.sync_seq,
            tuple(_fact(fact) for fact in call.facts),
            tuple(held.lease_id for held in call.held),
            tuple(_want(want) for want in call.wants),
            call.final,
        )
        done = decide(ledger.books, command, ledger.now_ms(), ledger.rules)
        self._pass_back()
        assert isinstance(done, service.SyncDone), done
        return SyncAnswer(
            applied=dict(done.applied_seq),
            grants=tuple(_grant(grant) for grant in done.grants),
            denials=tuple(_denial(denial) for denial in done.denials),
            recalled=tuple(done.recalled),
            next_sync_s=ledger.rules.sync_ms / 1000,
            nodes=tuple(_node(view) for view in done.nodes),
            quarantined=tuple(Quarantined(each.incarnation, each.seq, each.reason) for each in done.quarantined),
        )

    async def reserve(self, sidecar_id: str, incarnation: str, want: Want, timeout_s: float) -> Grant | Denial:
        self._pass()
        self.ledger.reserves.append(want)
        command = service.Reserve(sidecar_id, incarnation, _want(want))
        answer = decide(self.ledger.books, command, self.ledger.now_ms(), self.ledger.rules)
        self._pass_back()
        if isinstance(answer, service.Grant):
            return _grant(answer)
        assert isinstance(answer, service.Denial), answer
        return _denial(answer)

    async def close(self) -> None:
        self.closed = True

    def _pass(self) -> None:
        if self.refuse:
            raise GatewayError(self.refuse, refused=True)
        if self.cut:
            raise GatewayError("the line is cut")

    def _pass_back(self) -> None:
        if self.lose_answers:
            raise GatewayError("the answer was lost")


def _fact(fact: Fact) -> service.Fact:
    return service.Fact(fact.incarnation, fact.seq, _body(fact.body))


def _body(body: FactBody) -> service.FactBody:
    match body:
        case Settle() as settle:
            return service.Settle(
                settle.attempt_id,
                settle.lease_id,
                settle.node,
                settle.period,
                settle.cost_nano_usd,
                settle.estimated,
                settle.usage,
                settle.model.provider,
                settle.model.id,
                settle.model.model,
                int(settle.outcome or 0),
            )
        case Release(lease_id=lease_id):
            return service.Release(lease_id)
        case Finish(predecessor=predecessor):
            return service.Finish(predecessor)
        case Skip(first=first):
            return service.Skip(first)


def _want(want: Want) -> service.Want:
    longest_ms = int(want.longest_attempt_s * 1000)
    return service.Want(want.want_id, want.node, want.amount_nano_usd, want.minimum_nano_usd, longest_ms)


def _grant(grant: service.Grant) -> Grant:
    return Grant(grant.lease_id, grant.want_id, grant.budget, grant.period, grant.amount_nano_usd, grant.ttl_ms / 1000)


def _denial(denial: service.Denial) -> Denial:
    retry_at = denial.retry_at_ms / 1000 if denial.retry_at_ms else None
    return Denial(denial.want_id, denial.budget, DenialReason(denial.reason), retry_at)


def _node(view: service.NodeView) -> NodeState:
    return NodeState(
        view.budget,
        view.period,
        view.limit_nano_usd,
        view.settled_nano_usd,
        view.leased_nano_usd,
        view.suspense_nano_usd,
        NodePolicy(view.policy.on_partition == service.OnPartition.OPEN, view.policy.open_allowance_nano_usd or 0),
        view.ends_at_ms / 1000,
    )
