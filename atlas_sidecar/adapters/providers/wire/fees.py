"""What answers say of their price beside the counts, alike for several providers. Pure.

Rules kept here:
- A service tier other than the usual one has prices of its own (OpenAI and Gemini: priority dearer, flex cheaper;
  Anthropic: committed capacity). No request can ask for one, but an account's settings can: such a cost is flagged.
"""

from __future__ import annotations

from typing import Any, Final

_LIST_PRICE: Final = frozenset(
    {"", "auto", "default", "on_demand", "standard", "traffic_type_unspecified", "unspecified"}
)


def is_list_price(tier: Any) -> bool:
    """Return whether a service tier, as an answer names it, is charged at the usual price; None = it named none."""
    return tier is None or (isinstance(tier, str) and tier.lower() in _LIST_PRICE)


def positive(count: Any) -> int:
    """Return a count as an answer's free-form object says it; 0 for what is no count."""
    return count if type(count) is int and count > 0 else 0
