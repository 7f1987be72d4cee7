"""The settings as frozen values: each key of the configuration with its type, default, bounds and one sentence.

Rules kept here:
- The defaults are the contract's. Unknown keys are errors. What concerns two keys at once is checked in rules.py.
- A secret that was given is a SecretStr, so that no repr shows it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import Field

from atlas_sidecar.config.models import ModelEntry, RoleEntry, RoutingSettings
from atlas_sidecar.config.providers import ProviderEntry
from atlas_sidecar.config.values import (
    Bytes,
    Count,
    File,
    Listen,
    Many,
    Name,
    Node,
    PortOnly,
    Seconds,
    Section,
    Target,
    Usd,
    Wait,
    Weight,
    Zone,
)


class TlsSettings(Section):
    """TLS of the Router's TCP listeners."""

    cert_file: File = Field(description="PEM file with the certificate and its chain")
    key_file: File = Field(description="PEM file with the private key")
    client_ca_file: File | None = Field(
        default=None, description="PEM file; when given, clients must show a certificate that it signed"
    )


class ClientTlsSettings(Section):
    """TLS towards the budget service; `{}` trusts the system's certificate authorities."""

    ca_file: File | None = Field(default=None, description="PEM file with the certificate authorities to trust")
    cert_file: File | None = Field(default=None, description="PEM file with this sidecar's certificate, for mutual TLS")
    key_file: File | None = Field(default=None, description="PEM file with that certificate's private key")


class FallbackSettings(Section):
    """Bounds on the chain of models that one request may try."""

    max_hops: Count = Field(default=6, description="models asked")
    attempts_per_model: Count = Field(default=3, description="requests to one model; 1 = no retry")
    backoff_base_s: Wait = Field(default=0.5, description="the first wait before a retry, doubling, with full jitter")
    backoff_cap_s: Wait = Field(default=8.0, description="the longest wait before a retry")
    max_inline_retry_after_s: Wait = Field(
        default=0.0, description="wait for a rate limit up to this; else the next model"
    )
    on_content_filter: Literal["fail", "next"] = Field(
        default="fail", description="when a provider filters: fail, or next"
    )


class TimeoutSettings(Section):
    """Bounds on one attempt (connect, first token, idle) and on the whole call (total), seconds."""

    connect_s: Seconds = Field(default=5.0, description="to a provider")
    time_to_first_token_s: Seconds = Field(default=30.0, description="from the request to its first content")
    idle_s: Seconds = Field(default=20.0, description="the longest silence between two chunks")
    total_s: Seconds = Field(default=600.0, description="the whole call, when the caller set no deadline")


class HealthSettings(Section):
    """How providers are watched."""

    probe_interval_s: Seconds = Field(default=30.0, description="between two probes of an idle provider")
    min_requests_remaining: int = Field(
        default=10, ge=0, le=1_000_000, description="a provider whose headers say fewer is passed over"
    )


class BudgetSettings(Section):
    """What may be spent in a day, and who keeps the books."""

    node: Node = Field(default="default", description="this sidecar's budget node, a path such as acme/search/planner")
    daily_limit_usd: Usd | None = Field(default=Decimal(100), description="null: no limit")
    time_zone: Zone = Field(default="UTC", description="whose midnight begins a day")
    service: Target = Field(
        default="", description='the budget service, HOST:PORT; "": this sidecar keeps the books alone'
    )
    tls: ClientTlsSettings | None = Field(default=None, description="TLS to the service; null: none")
    token_file: File | None = Field(
        default=None, description="a file with the service's bearer token, read again when it changes"
    )
    sidecar_id: Name | None = Field(default=None, description="stable over restarts; null: the host name")
    spend_log: File | None = Field(
        default=None, description="directory of the spend log; null: the user's state directory"
    )
    fsync: Literal["none", "group"] = Field(
        default="none",
        description="group: a request leaves when its reservation is on the disk itself, one sync for all that wait; "
        "none: the spend log survives a crash of the process, not of the machine",
    )
    on_partition: Literal["closed", "open"] = Field(
        default="closed",
        description="when the service is out of reach: refuse, or go on; the node's policy replaces it",
    )


class LimitsSettings(Section):
    """Bounds of this process; beyond them calls are refused at once."""

    max_streams: Count = Field(default=256, description="calls at once", le=100_000)
    max_in_flight_bytes: Bytes = Field(default=67_108_864, description="request bytes held at once, all calls together")
    max_message_bytes: Bytes = Field(
        default=33_554_432, description="one message; clients must raise their own receive limit"
    )


class TelemetrySettings(Section):
    """Traces, metrics, logs."""

    otlp_endpoint: str = Field(
        default="", max_length=2048, description='an OTLP gRPC endpoint, http://HOST:4317; "": none'
    )
    sample_ratio: Weight = Field(default=1.0, description="share of traces that are kept, 0..1")
    capture_content: bool = Field(default=False, description="put prompts and answers into traces")


class Settings(Section):
    """The configuration of `atlas-sidecar serve`."""

    listen: Many[Listen] = Field(
        default=("127.0.0.1:50051",),
        description="Router's addresses: HOST:PORT or unix:/PATH",
        min_length=1,
        max_length=16,
    )
    tls: TlsSettings | None = Field(default=None, description="of the TCP addresses in `listen`")
    insecure: bool = Field(default=False, description="allow TCP beyond loopback without TLS")
    health_listen: PortOnly = Field(default="", description='grpc.health.v1 alone, such as 0.0.0.0:50052; "": none')
    metrics_listen: PortOnly = Field(default="", description='Prometheus, such as 0.0.0.0:9464; "": none')
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="of the log on stderr")
    catalog: str = Field(
        default="default", min_length=1, description="default, atlas-2024, or a file with models and roles"
    )
    default_role: Name = Field(default="worker", description="of requests whose agent_type names no role")
    providers: dict[Name, ProviderEntry] | None = Field(
        default=None, description="by name; absent: every provider whose key variable is set"
    )
    models: dict[Name, ModelEntry] = Field(default={}, description="by id, merged over the catalog's")
    roles: dict[Name, RoleEntry] = Field(default={}, description="by name, in place of the catalog's role of that name")
    routing: RoutingSettings = Field(default=RoutingSettings(), description="how models are scored")
    fallback: FallbackSettings = Field(default=FallbackSettings(), description="what bounds the chain of models")
    timeouts: TimeoutSettings = Field(default=TimeoutSettings(), description="in seconds")
    health: HealthSettings = Field(default=HealthSettings(), description="how providers are watched")
    budget: BudgetSettings = Field(default=BudgetSettings(), description="what may be spent")
    limits: LimitsSettings = Field(default=LimitsSettings(), description="of this process")
    telemetry: TelemetrySettings = Field(default=TelemetrySettings(), description="traces, metrics, logs")
