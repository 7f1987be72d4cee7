"""Tests mirror the package; helpers they share are imported from `tests`."""
