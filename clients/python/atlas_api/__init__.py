"""Wire types of the ATLAS sidecar."""
