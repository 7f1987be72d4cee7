"""What the provider adapters share, so that none imports another."""
