"""Where Google Cloud serves models, by location; the rule of Google's and Anthropic's SDKs."""

from __future__ import annotations


def vertex_url(location: str) -> str:
    """Return the address of Vertex AI in a location: a region, one of the multi-regions `us` and `eu`, or `global`."""
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if location in {"us", "eu"}:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"
