"""Writes docs/configuration.md: every key of the configuration with its default and its sentence, as the code has them.

`python tools/configuration.py > docs/configuration.md`; tests/test_config.py fails when the two differ.
"""

import sys
from decimal import Decimal
from typing import Any, get_args

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from atlas_sidecar.config.models import ModelEntry, PriceEntry, RoleEntry
from atlas_sidecar.config.providers import ProviderEntry, SimulatedModel
from atlas_sidecar.config.settings import Settings

HEAD = """\
# Configuration

Every key, its default and what it means; `tools/configuration.py` writes this file from the settings themselves.
`atlas-sidecar config-schema` prints the same as a JSON schema for editors; `atlas-sidecar check-config FILE` says
what a file would serve, and names every mistake with its line and the nearest right key.

A file is named by `--config` or `ATLAS_CONFIG`; without one the environment alone decides. `ATLAS_LISTEN` (comma
separated) replaces `listen`. A changed file is taken over while calls run, when it is valid; `listen`, `tls`,
`health_listen`, `metrics_listen`, `limits`, `budget`, `telemetry` and `health.probe_interval_s` need a restart, and
the log says so. Money is USD, times are seconds, models and roles are merged over those of the catalog.
"""
PARTS: tuple[tuple[str, type[BaseModel], str], ...] = (
    (
        "providers.NAME",
        ProviderEntry,
        "A key and an endpoint of some kind; a second key or region is a second provider.",
    ),
    ("providers.NAME.models.MODEL", SimulatedModel, "What a simulated model does; then every answer is ok."),
    ("models.ID", ModelEntry, "A model, as the roles name it; a model of the catalog is changed key by key."),
    (
        "models.ID.price",
        PriceEntry,
        "USD per million tokens; 0 is free. What is charged for, and when a cost is incomplete:\n"
        "[0014](0014-what-an-answer-costs.md).",
    ),
    ("roles.NAME", RoleEntry, "Which models may serve a role; it takes the place of the catalog's role of that name."),
)


def main() -> None:
    """Print the reference."""
    sys.stdout.write(reference())


def reference() -> str:
    """Return the reference as Markdown."""
    lines = [HEAD, "## At the top", *_table(Settings, flat=True)]
    for name, field in Settings.model_fields.items():
        section = _section(field)
        if section is not None and not _is_optional_map(field):
            lines += ["", f"## {name}", "", (section.__doc__ or "").split("\n")[0], *_table(section)]
    for path, section, about in PARTS:
        lines += ["", f"## {path}", "", about, *_table(section)]
    return "\n".join(lines) + "\n"


def _table(section: type[BaseModel], *, flat: bool = False) -> list[str]:
    rows = ["", "| key | default | |", "| --- | --- | --- |"]
    for name, field in section.model_fields.items():
        inner = _section(field)
        if inner is not None and not flat and not _is_optional_map(field) and _is_nested(field):
            rows += [_row(f"{name}.{below}", each) for below, each in inner.model_fields.items()]
        elif not (flat and inner is not None and not _is_optional_map(field)):
            rows.append(_row(name, field))
    return rows


def _row(name: str, field: FieldInfo) -> str:
    text = (field.description or "").replace("|", "\\|")
    return f"| `{name}` | {_default(field)} | {text} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    value: Any = field.default
    if value is None or isinstance(value, (BaseModel, SecretStr)):
        return ""
    if isinstance(value, (tuple, list)):
        return f"`[{', '.join(map(str, value))}]`" if value else ""
    if isinstance(value, dict):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, (int, float, Decimal)):
        return (
            f"`{value:f}`".replace(".000000", "") if isinstance(value, float) and value == int(value) else f"`{value}`"
        )
    return f"`{value}`" if value else '`""`'


def _section(field: FieldInfo) -> type[BaseModel] | None:
    for candidate in (field.annotation, *get_args(field.annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _is_nested(field: FieldInfo) -> bool:
    return isinstance(field.default, BaseModel)


def _is_optional_map(field: FieldInfo) -> bool:
    return "dict" in str(field.annotation)


if __name__ == "__main__":
    main()
