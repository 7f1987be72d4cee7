"""What the simulated provider shall do: the settings of `kind: simulated`, parsed strictly.

Rules kept here:
- Pure: a mapping in, frozen settings out, or a ValueError that begins with the path of the wrong key.
- An unknown key is an error that names the nearest right one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, NoReturn, TypeAlias

DEFAULT_TEXT = (
    "This is a simulated answer: no model was asked and nothing was paid. It streams word by word at the pace that the"
    " configuration gives, so that selection, fallback, budgets and traces can be tried without a key. "
)
MAX_COUNT = 1_000_000
MAX_WAIT_S = 86_400.0
MAX_STEPS = 10_000


@dataclass(frozen=True, slots=True)
class Ok:
    """Answer."""


@dataclass(frozen=True, slots=True)
class Fail:
    """Answer with an HTTP error status, asking for a wait of `retry_after_s` seconds."""

    status: int
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class CutAfter:
    """Close the connection after so many chunks."""

    chunks: int


@dataclass(frozen=True, slots=True)
class StallAfter:
    """Send nothing more after so many chunks, and keep the connection open."""

    chunks: int


@dataclass(frozen=True, slots=True)
class Silent:
    """Never send a head."""


@dataclass(frozen=True, slots=True)
class CallTool:
    """Answer with a call of a tool."""

    name: str
    arguments_json: str


Step: TypeAlias = Ok | Fail | CutAfter | StallAfter | Silent | CallTool


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure that comes by chance, 0..1, in the place of an answer."""

    fail: Fail
    probability: float


@dataclass(frozen=True, slots=True)
class ModelScript:
    """How one model answers. `steps`: what each of the first calls gets, with how often; afterwards all are Ok.

    `output_tokens` None: as many as `text` has words. `tokens_per_s` > 0.
    """

    text: str = DEFAULT_TEXT
    output_tokens: int | None = 60
    time_to_first_token_s: float = 0.05
    tokens_per_s: float = 200.0
    steps: tuple[tuple[Step, int], ...] = ()

    def step(self, call_number: int) -> Step:
        """Return what the call with this number, counted from 0, gets."""
        for step, times in self.steps:
            if call_number < times:
                return step
            call_number -= times
        return Ok()


@dataclass(frozen=True, slots=True)
class SimulatedSettings:
    """A simulated provider: scripts by the provider's model name or the configured id; `default` for other models."""

    seed: int = 1
    default: ModelScript = ModelScript()
    models: Mapping[str, ModelScript] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()


_PACE = ("text", "output_tokens", "time_to_first_token_s", "tokens_per_s")


def parse_script(raw: Mapping[str, Any]) -> SimulatedSettings:
    """Return the settings that a configuration's mapping (without `kind`) stands for.

    Raises:
        ValueError: something is wrong; the message begins with its path ("models.a.script[0].status: ...").
    """
    _check_keys("", raw, ("seed", *_PACE, "models", "faults"))
    default = _pace(raw, "", ModelScript())
    models = {
        str(name): _model(value, f"models.{name}", default)
        for name, value in _mapping("models", raw.get("models") or {}).items()
    }
    faults = tuple(_fault(f"faults[{i}]", f) for i, f in enumerate(_sequence("faults", raw.get("faults") or ())))
    if sum(fault.probability for fault in faults) > 1:
        _wrong("faults", "the probabilities add up to more than 1")
    return SimulatedSettings(_integer("seed", raw.get("seed", 1), -(2**63), 2**63), default, models, faults)


def _model(raw: object, path: str, default: ModelScript) -> ModelScript:
    values = _mapping(path, raw or {})
    _check_keys(path, values, (*_PACE, "script"))
    paced = _pace(values, f"{path}.", default)
    script = _sequence(f"{path}.script", values.get("script") or ())
    if len(script) > MAX_STEPS:
        _wrong(f"{path}.script", f"at most {MAX_STEPS} steps")
    steps = tuple(_step(f"{path}.script[{i}]", item) for i, item in enumerate(script))
    return ModelScript(paced.text, paced.output_tokens, paced.time_to_first_token_s, paced.tokens_per_s, steps)


def _pace(raw: Mapping[str, Any], prefix: str, default: ModelScript) -> ModelScript:
    text, tokens = default.text, default.output_tokens
    if raw.get("text") is not None:
        text, tokens = _text(f"{prefix}text", raw["text"]), None
    if raw.get("output_tokens") is not None:
        tokens = _integer(f"{prefix}output_tokens", raw["output_tokens"], 0, MAX_COUNT)
    wait = _number(f"{prefix}time_to_first_token_s", raw.get("time_to_first_token_s", default.time_to_first_token_s))
    rate = _number(f"{prefix}tokens_per_s", raw.get("tokens_per_s", default.tokens_per_s), maximum=1e9)
    if rate <= 0:
        _wrong(f"{prefix}tokens_per_s", "must be more than 0")
    return ModelScript(text, tokens, wait, rate)


def _step(path: str, raw: object) -> tuple[Step, int]:
    if raw == "ok":
        return Ok(), 1
    if not isinstance(raw, Mapping):
        _wrong(path, f"must be `ok` or one of {{{', '.join(_STEPS)}}}, not {raw!r}")
    kinds = [key for key in _STEPS if key in raw]
    if len(kinds) != 1:
        _check_keys(path, raw, (*_STEPS, "times", "retry_after_s"))
        _wrong(path, f"must have exactly one of {', '.join(_STEPS)}")
    kind = kinds[0]
    _check_keys(path, raw, (kind, "times", *(("retry_after_s",) if kind == "status" else ())))
    return _STEPS[kind](path, raw), _integer(f"{path}.times", raw.get("times", 1), 1, MAX_COUNT)


def _fail(path: str, raw: Mapping[str, Any]) -> Fail:
    wait = raw.get("retry_after_s")
    status = _integer(f"{path}.status", raw["status"], 400, 599)
    return Fail(status, None if wait is None else _number(f"{path}.retry_after_s", wait))


def _silent(path: str, raw: Mapping[str, Any]) -> Silent:
    if raw["silent"] is not True:
        _wrong(f"{path}.silent", "must be true")
    return Silent()


def _call_tool(path: str, raw: Mapping[str, Any]) -> CallTool:
    path = f"{path}.tool_call"
    call = _mapping(path, raw["tool_call"])
    _check_keys(path, call, ("name", "arguments"))
    name = _text(f"{path}.name", call.get("name"))
    if not name:
        _wrong(f"{path}.name", "must not be empty")
    arguments = _mapping(f"{path}.arguments", call.get("arguments") or {})
    try:
        return CallTool(name, json.dumps(arguments, ensure_ascii=False, separators=(",", ":")))
    except (TypeError, ValueError) as error:
        _wrong(f"{path}.arguments", f"is no JSON: {error}")


_STEPS: dict[str, Callable[[str, Mapping[str, Any]], Step]] = {
    "status": _fail,
    "cut_after": lambda path, raw: CutAfter(_integer(f"{path}.cut_after", raw["cut_after"], 0, MAX_COUNT)),
    "stall_after": lambda path, raw: StallAfter(_integer(f"{path}.stall_after", raw["stall_after"], 0, MAX_COUNT)),
    "silent": _silent,
    "tool_call": _call_tool,
}


def _fault(path: str, raw: object) -> Fault:
    values = _mapping(path, raw)
    _check_keys(path, values, ("status", "probability", "retry_after_s"))
    for key in ("status", "probability"):
        if key not in values:
            _wrong(f"{path}.{key}", "is missing")
    return Fault(_fail(path, values), _number(f"{path}.probability", values["probability"], maximum=1))


def _wrong(path: str, what: str) -> NoReturn:
    raise ValueError(f"{path}: {what}")


def _check_keys(path: str, raw: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in raw:
        if key not in known:
            near = get_close_matches(str(key), known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            _wrong(f"{path}.{key}" if path else str(key), f"unknown key; {hint}")


def _mapping(path: str, raw: object) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        _wrong(path, f"must be a mapping, not {raw!r}")
    return raw


def _sequence(path: str, raw: object) -> Sequence[object]:
    if not isinstance(raw, list | tuple):
        _wrong(path, f"must be a list, not {raw!r}")
    return raw


def _text(path: str, raw: object) -> str:
    if not isinstance(raw, str):
        _wrong(path, f"must be a text, not {raw!r}")
    return raw


def _integer(path: str, raw: object, minimum: int, maximum: int) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int):
        _wrong(path, f"must be a whole number, not {raw!r}")
    if not minimum <= raw <= maximum:
        _wrong(path, f"must be between {minimum} and {maximum}, not {raw}")
    return raw


def _number(path: str, raw: object, maximum: float = MAX_WAIT_S) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        _wrong(path, f"must be a number, not {raw!r}")
    if not 0 <= raw <= maximum:
        _wrong(path, f"must be between 0 and {maximum:g}, not {raw:g}")
    return float(raw)
