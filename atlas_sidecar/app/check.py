"""What only a start would find out about a configuration, as far as it can be found out without one."""

from __future__ import annotations

from atlas_sidecar.adapters.telemetry.endpoint import parse_endpoint
from atlas_sidecar.config import Configuration
from atlas_sidecar.server.tls import TlsFiles


def tls_files(configuration: Configuration) -> TlsFiles | None:
    """Return the files of the listeners' TLS, None without it."""
    tls = configuration.settings.tls
    return TlsFiles(tls.cert_file, tls.key_file, tls.client_ca_file) if tls is not None else None


def mistakes(configuration: Configuration) -> list[str]:
    """Return what is wrong wherever the configuration is served."""
    endpoint = configuration.settings.telemetry.otlp_endpoint
    try:
        if endpoint:
            parse_endpoint(endpoint)
    except ValueError as error:
        return [f"telemetry.otlp_endpoint: {error}"]
    return []


def missing_here(configuration: Configuration) -> list[str]:
    """Return what is wrong with the files of this machine."""
    files = tls_files(configuration)
    problem = files.problem() if files is not None else ""
    return [f"tls: {problem}"] if problem else []
