"""Which role a request belongs to, and which models that gives it.

Rules kept here:
- A role is named inside agent_type: the longest contained name wins, case ignored; nothing contained = the default one.
- `only_models` may name models from outside the role: they rank in one more tier, behind the role's last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from atlas_sidecar.core.types import Model, Target


class RoleTargets(NamedTuple):
    """The targets of one request in tier order, and the ids in `only_models` that no configured model has."""

    targets: tuple[Target, ...]
    unknown: tuple[str, ...]


def role_of(agent_type: str, roles: Iterable[str], default_role: str) -> str:
    """Return the role that this agent type names; of equally long names the alphabetically first."""
    wanted = agent_type.lower()
    contained = [role for role in roles if role and role.lower() in wanted]
    return min(contained, key=lambda role: (-len(role), role)) if contained else default_role


def targets_of_tiers(tiers: Sequence[Sequence[str]], models: Mapping[str, Model]) -> tuple[Target, ...]:
    """Return a role's targets; raises KeyError for an id that no model has (the configuration checks that first)."""
    return tuple(Target(models[model_id], tier) for tier, ids in enumerate(tiers, start=1) for model_id in ids)


def targets_for(
    role_targets: tuple[Target, ...], models: Mapping[str, Model], only_models: Sequence[str] = ()
) -> RoleTargets:
    """Return what a request may choose from: the role's targets, and behind them what else `only_models` names."""
    if not only_models:
        return RoleTargets(role_targets, ())
    present = {target.model.ref.id for target in role_targets}
    behind = max((target.tier for target in role_targets), default=0) + 1
    wanted = dict.fromkeys(only_models)  # once each, in the caller's order
    others = tuple(
        Target(models[model_id], behind) for model_id in wanted if model_id in models and model_id not in present
    )
    return RoleTargets(role_targets + others, tuple(model_id for model_id in wanted if model_id not in models))
