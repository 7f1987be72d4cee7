"""What the one setting `telemetry.otlp_endpoint` says: where OTLP goes, and by which protocol.

Rules kept here:
- `http://HOST:4317` and `https://HOST:4317` are OTLP over gRPC; a path that ends in `/v1/traces` makes it OTLP over
  HTTP, whose metrics go to `/v1/metrics` beside it.
- No credentials in the URL: they belong in OTEL_EXPORTER_OTLP_HEADERS, which the exporters read.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

TRACES_PATH = "/v1/traces"
METRICS_PATH = "/v1/metrics"


class Endpoint(NamedTuple):
    """Where to send. `over_http` False = gRPC, then both URLs are the same."""

    over_http: bool
    traces_url: str
    metrics_url: str
    host: str


def parse_endpoint(text: str) -> Endpoint:
    """Return what an endpoint means; raises ValueError with a sentence for the operator."""
    parts = urlsplit(text if "://" in text else f"http://{text}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("otlp_endpoint must be a URL such as http://localhost:4317")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("otlp_endpoint takes no credentials and no query; set OTEL_EXPORTER_OTLP_HEADERS instead")
    host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
    path = parts.path.rstrip("/")
    if not path:
        url = urlunsplit((parts.scheme, parts.netloc, "", "", ""))
        return Endpoint(False, url, url, host)
    if not path.endswith(TRACES_PATH):
        raise ValueError(
            f"the path of an OTLP HTTP endpoint ends in {TRACES_PATH}; without a path it is OTLP over gRPC"
        )
    base = path.removesuffix(TRACES_PATH)
    traces, metrics = (
        urlunsplit((parts.scheme, parts.netloc, base + end, "", "")) for end in (TRACES_PATH, METRICS_PATH)
    )
    return Endpoint(True, traces, metrics, host)
