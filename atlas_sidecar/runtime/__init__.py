"""Lets the core's decisions happen over time, through the ports."""
