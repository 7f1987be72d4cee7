"""Which role an agent type names, and which models a request may choose from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_sidecar.core.roles import role_of, targets_for, targets_of_tiers
from tests.core.builders import model

ROLES = ["worker", "supervisor", "super", "Code-Worker"]


@pytest.mark.parametrize(
    ("agent_type", "role"),
    [
        ("supervisor", "supervisor"),
        ("research-supervisor", "supervisor"),
        ("Research-SUPERVISOR-2", "supervisor"),
        ("superman", "super"),
        ("my code-worker", "Code-Worker"),
        ("worker of a supervisor", "supervisor"),
        ("", "worker"),
        ("planner", "worker"),
    ],
)
def test_the_longest_contained_role_wins_and_case_is_ignored(agent_type: str, role: str) -> None:
    assert role_of(agent_type, ROLES, "worker") == role


@given(st.text(), st.permutations(ROLES))
def test_the_order_of_the_roles_does_not_matter(agent_type: str, roles: list[str]) -> None:
    assert role_of(agent_type, roles, "worker") == role_of(agent_type, ROLES, "worker")
    assert role_of(agent_type, roles, "worker") in ROLES


def test_of_equally_long_names_the_alphabetically_first_wins() -> None:
    assert role_of("abcd", ["cd", "ab"], "x") == "ab"


MODELS = {name: model(name) for name in "abcdef"}
ROLE = targets_of_tiers([["a", "b"], ["c"]], MODELS)


def test_a_roles_targets_are_its_tiers_in_order() -> None:
    assert [(target.model.ref.id, target.tier) for target in ROLE] == [("a", 1), ("b", 1), ("c", 2)]
    assert targets_for(ROLE, MODELS) == (ROLE, ())


def test_only_models_from_outside_the_role_come_behind_its_last_tier_once_each() -> None:
    targets, unknown = targets_for(ROLE, MODELS, ["e", "a", "d", "e"])
    assert [(target.model.ref.id, target.tier) for target in targets] == [
        ("a", 1),
        ("b", 1),
        ("c", 2),
        ("e", 3),
        ("d", 3),
    ]
    assert unknown == ()


def test_ids_that_no_model_has_are_returned() -> None:
    assert targets_for(ROLE, MODELS, ["x", "a", "y", "x"]) == (ROLE, ("x", "y"))


def test_a_role_without_tiers_still_serves_only_models() -> None:
    targets, _ = targets_for((), MODELS, ["a"])
    assert [(target.model.ref.id, target.tier) for target in targets] == [("a", 1)]
