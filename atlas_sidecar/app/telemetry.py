"""Telemetry and the log, as the configuration wants them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, TextIO

from atlas_sidecar.adapters.clock import SystemClock
from atlas_sidecar.adapters.secrets import FileSecret
from atlas_sidecar.adapters.telemetry.export import Telemetry, TelemetrySettings, build_telemetry
from atlas_sidecar.adapters.telemetry.logs import configure_logging
from atlas_sidecar.app.places import host_name
from atlas_sidecar.config import Configuration
from atlas_sidecar.config.providers import KINDS

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

_SECRET_HEADER: Final = re.compile("auth|key|token|secret|cookie|password", re.IGNORECASE)


def set_up_log(configuration: Configuration, stream: TextIO | None = None) -> None:
    """Send every logger's lines to stderr, or `stream`, without the keys that are configured."""
    configure_logging(configuration.settings.log_level, stream, known_secrets(configuration))


def build(configuration: Configuration, clock: SystemClock, processors: Sequence[SpanProcessor] = ()) -> Telemetry:
    """Return telemetry by the configuration; raises ValueError where the endpoint makes no sense."""
    settings = configuration.settings
    return build_telemetry(
        TelemetrySettings(
            otlp_endpoint=settings.telemetry.otlp_endpoint,
            sample_ratio=settings.telemetry.sample_ratio,
            capture_content=settings.telemetry.capture_content,
            metrics_listen=settings.metrics_listen,
            instance_id=settings.budget.sidecar_id or host_name(),
        ),
        clock,
        processors,
    )


def known_secrets(configuration: Configuration) -> Callable[[], list[str]]:
    """Return who knows the keys of now: those in files, in headers, and the budget service's token included.

    What stands in a configured name is none ("ollama", the key that a server without keys is given): names are shown.
    """
    fixed = [key.secret.get_secret_value() for key in configuration.keys.values() if key.secret is not None]
    headers = [pair for entry in configuration.providers.values() for pair in entry.headers.items()]
    fixed += [value.rpartition(" ")[2] for name, value in headers if _SECRET_HEADER.search(name)]
    paths = {key.file for key in configuration.keys.values() if key.file}
    if token := configuration.settings.budget.token_file:
        paths.add(token)
    files = [FileSecret(path) for path in sorted(paths)]

    shown = "\n".join(_names(configuration))

    def now() -> list[str]:
        return [key for key in (*fixed, *(file() for file in files)) if key and key not in shown]

    return now


def _names(configuration: Configuration) -> Iterator[str]:
    settings = configuration.settings
    yield from (*configuration.providers, *settings.roles, *KINDS, settings.budget.node)
    for name, entry in settings.models.items():
        yield from (name, entry.provider, entry.model or "")
