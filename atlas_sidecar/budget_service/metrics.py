"""The service's Prometheus metrics, in a registry of its own.

Rules kept here: labels are fixed enums, or root names, which administrators choose; never ids, nodes or texts.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from atlas_sidecar.budget_service.values import Denial, NodeStatus, Swept, SyncDone
from atlas_sidecar.core.money import NANO_PER_USD

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """Counters and gauges, as verbs."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.calls = Counter("atlas_budget_calls", "Calls by method and status.", ["method", "code"], registry=registry)
        self.seconds = Histogram(
            "atlas_budget_call_seconds", "Time to answer.", ["method"], buckets=_SECONDS, registry=registry
        )
        self.batch = Histogram(
            "atlas_budget_transaction_commands",
            "Commands in one transaction.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=registry,
        )
        self.posted = Counter("atlas_budget_attempts_posted", "Attempts posted.", registry=registry)
        self.quarantined = Counter("atlas_budget_facts_quarantined", "Facts set aside.", registry=registry)
        self.grants = Counter("atlas_budget_grants", "Leases delivered, renewals included.", registry=registry)
        self.denials = Counter("atlas_budget_denials", "Wants refused.", ["reason"], registry=registry)
        self.stale = Counter("atlas_budget_stale_syncs", "Syncs that came too late for grants.", registry=registry)
        self.lost = Counter("atlas_budget_leases_lost", "Leases of lost pods.", ["fate"], registry=registry)
        self.reclaimed = Counter(
            "atlas_budget_reclaimed_usd",
            "What was reclaimed unsettled: the most that term U can be.",
            registry=registry,
        )
        self.money = Gauge("atlas_budget_usd", "A root's running period.", ["root", "part"], registry=registry)

    def synced(self, done: SyncDone) -> None:
        """Count a Sync's results."""
        self.posted.inc(done.posted)
        self.grants.inc(len(done.grants))
        self.quarantined.inc(len(done.quarantined))
        self.stale.inc(done.stale)
        for denial in done.denials:
            self.denied(denial)

    def denied(self, denial: Denial) -> None:
        """Count a refusal."""
        self.denials.labels(denial.reason.name.lower()).inc()

    def swept(self, swept: Swept) -> None:
        """Count lost leases."""
        self.lost.labels("suspense").inc(swept.suspended)
        self.lost.labels("reclaimed").inc(swept.reclaimed)
        self.reclaimed.inc(swept.reclaimed_nano_usd / NANO_PER_USD)

    def show(self, root: NodeStatus) -> None:
        """Set a root's gauges."""
        view = root.view
        parts = {"spent": view.settled_nano_usd, "leased": view.leased_nano_usd, "suspense": view.suspense_nano_usd}
        if view.limit_nano_usd is not None:
            parts["limit"] = view.limit_nano_usd
        for part, amount in parts.items():
            self.money.labels(view.budget, part).set(amount / NANO_PER_USD)
