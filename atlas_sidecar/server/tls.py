"""TLS of the listeners: certificates from files, read again when they change (a rotated secret)."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. With `client_ca_file`, clients must show a certificate that it signed."""

    cert_file: str
    key_file: str
    client_ca_file: str | None = None

    def problem(self) -> str:
        """Return what is wrong with the files, "" when they can be used."""
        for file in (self.cert_file, self.key_file, self.client_ca_file):
            try:
                if file and not Path(file).read_bytes().strip():
                    return f"{file} is empty"
            except OSError as error:
                return f"{file} cannot be read: {(error.strerror or str(error)).lower()}"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.cert_file, self.key_file, password=_no_password)
        except (ssl.SSLError, ValueError):
            return f"{self.cert_file} and {self.key_file} are no PEM certificate and its unencrypted private key"
        try:
            if self.client_ca_file:
                context.load_verify_locations(self.client_ca_file)
        except ssl.SSLError:
            return f"{self.client_ca_file} holds no PEM certificate"
        return ""

    def stamps(self) -> tuple[int, ...]:
        """Return the files' times of change, for comparing."""
        files = (self.cert_file, self.key_file, self.client_ca_file)
        return tuple(Path(file).stat().st_mtime_ns for file in files if file)


def _no_password() -> str:
    raise ValueError("the private key is encrypted")


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Return credentials that follow their files: a handshake looks whether they changed; a bad change is ignored."""
    stamps = files.stamps()

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal stamps
        try:
            now = files.stamps()
            if now == stamps or files.problem():
                return None
            stamps = now
            return _configuration(files)
        except OSError:  # in the middle of being replaced
            return None

    # None means "unchanged", which the stubs do not know.
    fetch = cast("Callable[[], grpc.ServerCertificateConfiguration]", changed)
    return grpc.dynamic_ssl_server_credentials(_configuration(files), fetch, bool(files.client_ca_file))


def _configuration(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    pair = (Path(files.key_file).read_bytes(), Path(files.cert_file).read_bytes())
    roots = Path(files.client_ca_file).read_bytes() if files.client_ca_file else None
    return grpc.ssl_server_certificate_configuration([pair], roots)
