"""`atlas-sidecar select`: which model would serve, and why."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import grpc

from atlas_api.v1 import router_pb2 as pb
from atlas_api.v1.router_pb2_grpc import RouterStub
from atlas_sidecar.cli.client import DEFAULT_TARGET, FAILED, as_json, channel_to, target_of, tell_failure
from atlas_sidecar.cli.text import Style, safe, say, table, usd
from atlas_sidecar.cli.usage import UsageError

_TIMEOUT_S = 10.0


def requirements_of(arguments: argparse.Namespace) -> pb.Requirements:
    """Make the requirements that the options ask for."""
    complexity = f"COMPLEXITY_{(arguments.complexity or 'unspecified').upper()}"
    return pb.Requirements(
        agent_type=arguments.role or "",
        complexity=pb.Complexity.Value(complexity),
        use_cases=arguments.use_case or (),
        only_models=arguments.model or (),
        budget=arguments.budget or "",
        session_id=arguments.session or "",
    )


def run(arguments: argparse.Namespace) -> int:
    """Ask and print; return the exit status."""
    target = target_of(arguments, "ATLAS_TARGET", DEFAULT_TARGET)
    request = pb.SelectRequest(
        requirements=requirements_of(arguments), context_tokens=arguments.context_tokens, record=bool(arguments.record)
    )
    try:
        with channel_to(target, arguments) as channel:
            answer = RouterStub(channel).Select(request, timeout=arguments.timeout or _TIMEOUT_S)
    except grpc.RpcError as error:
        return tell_failure(error, target, as_json=arguments.json, start_with="atlas-sidecar serve")
    decision = answer.decision
    if arguments.record:
        _keep(arguments.record, answer.decision_record_json)
    if arguments.json:
        say(as_json(decision))
    else:
        say(*decision_lines(decision, Style(sys.stdout), explain=arguments.explain))
    return 0 if decision.HasField("selected") else FAILED


def _keep(path: str, record: str) -> None:
    if not record:
        raise UsageError("--record: this sidecar is older and keeps no records")
    try:
        Path(path).write_text(f"{record}\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--record {path}: {error.strerror}") from None


def decision_lines(decision: pb.Decision, style: Style, *, explain: bool) -> list[str]:
    """Return a decision as lines a person can follow."""
    if decision.HasField("selected"):
        lines = [f"{style(decision.selected.id, 'bold', 'green')} ({_served_by(decision.selected)})"]
        if decision.fallbacks:
            lines.append("then " + ", ".join(model.id for model in decision.fallbacks))
    else:
        lines = [style("no model is eligible", "bold", "red")]
        explain = True
    return [*lines, "", *explain_lines(decision, style)] if explain else lines


def _served_by(model: pb.ModelRef) -> str:
    return model.provider if model.model == model.id else f"{model.provider} {model.model}"


def explain_lines(decision: pb.Decision, style: Style) -> list[str]:
    """Return every candidate with its terms, or why it was rejected, and how the score came about."""
    header = [
        "",
        "model",
        "provider",
        "tier",
        "score",
        "reasoning",
        "reliability",
        "cost",
        "speed",
        "success",
        "est. cost",
    ]
    order = {decision.selected.id: 1, **{model.id: rank for rank, model in enumerate(decision.fallbacks, 2)}}
    rows, rejected = [], []
    for candidate in decision.candidates:
        name = candidate.model.id
        cost = usd(candidate.estimated_cost.nano_usd) if candidate.HasField("estimated_cost") else "unknown"
        terms = (candidate.reasoning, candidate.reliability, candidate.cost_efficiency, candidate.speed)
        cells = [name, candidate.model.provider, str(candidate.tier), f"{candidate.score:.3f}"]
        cells += [*(f"{term:.2f}" for term in terms), f"{candidate.success_rate:.0%}", cost]
        rank = order.get(name)
        if candidate.rejection:
            why = pb.Rejection.Name(candidate.rejection).removeprefix("REJECTION_").lower()
            detail = safe(candidate.rejection_detail)
            rejected.append([name, candidate.model.provider, style(why, "yellow"), detail])
        if rank is not None or not candidate.rejection:
            cells = [style(cell, "bold") if rank == 1 else cell for cell in cells]
            rows.append([str(rank) if rank else "", *cells])
    lines = table([style(cell, "dim") for cell in header], rows, frozenset(range(3, 11))) if rows else []
    if rejected:
        lines += ["", style("rejected", "dim"), *table(["", "", "", ""], rejected)[1:]]
    return [*lines, "", *_formula(decision, style)]


def _formula(decision: pb.Decision, style: Style) -> list[str]:
    weights = decision.weights
    parts = zip(
        ("reasoning", "reliability", "cost", "speed"),
        (weights.reasoning, weights.reliability, weights.cost, weights.speed),
        strict=True,
    )
    lines = [
        f"score = ({' + '.join(f'{weight:g} x {name}' for name, weight in parts)}) x success x tier factor, "
        "and 0.5 more for a use case that was asked for"
    ]
    if decision.session_affinity:
        lines.append("the session's last model got 10 % on its score")
    if decision.last_resort:
        lines.append("all that could serve is unwell at the moment: the least bad one is tried")
    if decision.HasField("remaining_budget"):
        saving = "; less than a fifth is left, so price counts most" if decision.cost_optimization else ""
        lines.append(f"budget: {usd(decision.remaining_budget.nano_usd)} left today{saving}")
    lines.append(f"configuration {decision.config_version}, decision {decision.decision_id}")
    return [style(line, "dim") for line in lines]
