"""What decides: pure functions and values, without clock, randomness, environment or I/O."""
