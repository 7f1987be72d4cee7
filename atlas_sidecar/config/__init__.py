"""Frozen settings; the only reader of environment and configuration files.

`load` reads and checks; `domain` makes core's values of the result; `schema` describes the keys.
"""

from atlas_sidecar.config.address import Address, parse_address
from atlas_sidecar.config.errors import ConfigError, Problem
from atlas_sidecar.config.load import Configuration, KeySource, load
from atlas_sidecar.config.settings import Settings

__all__ = ["Address", "ConfigError", "Configuration", "KeySource", "Problem", "Settings", "load", "parse_address"]
