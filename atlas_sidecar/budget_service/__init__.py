"""The central budget service: one ledger for a fleet of sidecars."""
