"""Puts everything together: configuration in, a serving sidecar out."""
