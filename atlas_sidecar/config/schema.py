"""The JSON schema of the configuration, for editors and people."""

from __future__ import annotations

from typing import Any

from atlas_sidecar.config.settings import Settings


def json_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) with every key's description and default."""
    schema = Settings.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "atlas-sidecar configuration"}
