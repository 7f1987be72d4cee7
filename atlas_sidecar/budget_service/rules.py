"""The numbers that the ledger decides by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """Times in ms, money in nano-USD.

    `ttl_ms`: how long a lease may be used without a renewal. `skew_ms`: how far two clocks may differ.
    `sync_ms`: what sidecars are told as next_sync. `longest_ms`: the longest attempt where a want states none, and
    `max_longest_ms` the longest that is believed. `max_facts`: applied per Sync; the rest is sent again.
    `max_cost_nano_usd`: no single attempt costs more ($1,000,000); it keeps sums within 64 bits.
    `max_nodes`: per tree, for nodes that come into being by being named.
    """

    ttl_ms: int = 90_000
    skew_ms: int = 10_000
    sync_ms: int = 30_000
    longest_ms: int = 600_000
    max_longest_ms: int = 86_400_000
    max_facts: int = 4096
    max_nodes: int = 100_000
    max_cost_nano_usd: int = 1_000_000_000_000_000
