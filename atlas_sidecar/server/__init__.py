"""The gRPC edge: converts between the wire and the core, and hosts the services."""
