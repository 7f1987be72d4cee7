"""Fake credentials of Google Cloud: a service account whose tokens come from a local server."""

from __future__ import annotations

import json
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


def service_account(folder: Path, url: str) -> Path:
    """Write and return a service account's file, with a key made now; its tokens come from `url`/token."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    path = folder / "account.json"
    account = {
        "type": "service_account",
        "project_id": "p-1",
        "private_key_id": "k",
        "private_key": pem,
        "client_email": "atlas@p-1.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": f"{url}/token",
    }
    path.write_text(json.dumps(account), encoding="utf-8")
    return path
