"""Touches the world: each module implements one port with one library."""
