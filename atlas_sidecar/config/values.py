"""The kinds of values that keys may have: bounds that hold wherever such a value occurs."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Final, Literal, TypeAlias, TypeVar
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from atlas_sidecar.config.address import parse_address
from atlas_sidecar.config.yaml_source import Number
from atlas_sidecar.core.types import Capability

CAPABILITIES: Final = tuple(capability.name.lower() for capability in Capability)
MAX_NODE_DEPTH: Final = 16


def _exact(value: object) -> object:
    if isinstance(value, Number):
        return Decimal(value.text)
    return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _text_address(text: str) -> str:
    return str(parse_address(text))


def _tcp_or_nothing(text: str) -> str:
    if not text:
        return text
    address = parse_address(text)
    if address.is_unix:
        raise ValueError("must be HOST:PORT: whoever asks comes over the network")
    return str(address)


def _target_or_nothing(text: str) -> str:
    if not text:
        return text
    address = parse_address(text)
    if not address.is_unix and not address.port:
        raise ValueError("has no port to connect to; write HOST:PORT such as atlas-budget:50061")
    return str(address)


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (OSError, ValueError, LookupError):
        raise ValueError("is no IANA time zone; write one such as UTC or Europe/Berlin") from None
    return text


def _node(text: str) -> str:
    parts = text.split("/")
    legal = all(part and part == part.strip() and part.isprintable() for part in parts)
    if not legal or len(parts) > MAX_NODE_DEPTH or len(text) > 256:
        raise ValueError("is no budget node; write a path such as acme/search/planner")
    return text


def _date(text: str) -> str:
    from datetime import date  # noqa: PLC0415 - only where a model is retired

    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError("is no date; write one such as 2026-11-30") from None


T = TypeVar("T")
Many: TypeAlias = Annotated[tuple[T, ...], Field(strict=False)]  # a YAML list, frozen
Usd = Annotated[
    Decimal,
    BeforeValidator(_exact),
    Field(ge=0, le=1_000_000, decimal_places=9, allow_inf_nan=False),
    WithJsonSchema({"type": "number", "minimum": 0}),
]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Wait = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Score = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Tokens = Annotated[int, Field(ge=1, le=1_000_000_000)]
Count = Annotated[int, Field(ge=1, le=1_000)]
Bytes = Annotated[int, Field(ge=1024, le=2_147_483_647)]
Listen = Annotated[str, AfterValidator(_text_address)]
Target = Annotated[str, AfterValidator(_target_or_nothing)]
PortOnly = Annotated[str, AfterValidator(_tcp_or_nothing)]
Zone = Annotated[str, AfterValidator(_zone)]
Node = Annotated[str, AfterValidator(_node)]
Date = Annotated[str, AfterValidator(_date)]
Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^\S+$")]
Url = Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$", max_length=2048)]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256)]
File = Annotated[str, Field(min_length=1, max_length=4096)]
CapabilityName = Literal["tools", "json_schema", "image_input", "document_input", "audio_input", "reasoning"]


class Section(BaseModel):
    """What every part of the configuration has in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)
