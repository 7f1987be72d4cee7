"""ATLAS sidecar: picks an LLM for each request of one agent pod, runs it, falls back, and keeps the books."""

__version__ = "0.1.0"
