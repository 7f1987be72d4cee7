"""Loads a configuration: file and environment in, one complete and valid Configuration out, or every mistake at once.

The way: read -> parse -> merge over the catalog -> types and bounds (settings.py) -> rules between keys (rules.py).

Rules kept here:
- The only reader of environment and configuration files. Key files are named here and read by adapters/secrets.py.
- A half valid configuration does not exist: load returns a Configuration or raises ConfigError.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, SecretStr, ValidationError

from atlas_sidecar.config.errors import ConfigError, Problem, shown
from atlas_sidecar.config.explain import explain, nearest
from atlas_sidecar.config.models import Catalog
from atlas_sidecar.config.providers import KEY_VARIABLES, PLATFORM_KINDS, ProviderEntry
from atlas_sidecar.config.rules import broken_rules
from atlas_sidecar.config.settings import Settings
from atlas_sidecar.config.yaml_source import MAX_BYTES, Document, parse

BUILT_IN_CATALOGS: Final = ("default", "atlas-2024")
_OTHER_VARIABLES: Final = {"azure-openai": ("AZURE_OPENAI_API_KEY",)}


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where a provider's key comes from: `file`, or `secret`, or neither (no key). `origin` is for people."""

    origin: str
    file: str = ""
    secret: SecretStr | None = None
    platform: bool = False

    @property
    def is_missing(self) -> bool:
        """Whether there is no key and none can appear; a file may still appear, a platform has its own ways."""
        return not self.file and self.secret is None and not self.platform


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is to be served. `settings` is complete: the catalog merged in, providers resolved, defaults filled.

    `source`: the file, or "environment". `version`: a hash of all but the secrets. `files`: what to watch for changes.
    """

    settings: Settings
    source: str
    version: str
    keys: Mapping[str, KeySource]
    simulate: bool = False
    files: tuple[str, ...] = field(default=())

    @property
    def providers(self) -> Mapping[str, ProviderEntry]:
        """The configured providers by name."""
        return self.settings.providers or {}


def load(path: str | None, environ: Mapping[str, str], *, simulate: bool = False) -> Configuration:
    """Load the file (else ATLAS_CONFIG's, else none) and the environment; raises ConfigError with every mistake."""
    path = path or environ.get("ATLAS_CONFIG") or None
    document = parse(_read(path), path) if path else Document("environment", {})
    raw = document.value if document.value is not None else {}
    if not isinstance(raw, dict):
        problem = document.problem((), f"{shown(raw)} is no configuration: must be keys and values")
        raise ConfigError([*document.problems, problem])
    catalog, catalog_file = _catalog(raw, document)
    merged = _merged(raw, catalog)
    _listen_from_environment(merged, environ, document)
    settings = _validated(merged, document)
    settings = _with_providers(settings, environ, simulate=simulate)
    problems = list(document.problems)
    problems += [document.problem(where, message) for where, message in broken_rules(settings)]
    if problems:
        raise ConfigError(problems)
    keys = {name: _key(name, entry, environ) for name, entry in (settings.providers or {}).items()}
    files = tuple(file for file in (path, catalog_file) if file)
    return Configuration(settings, path or "environment", version_of(settings, simulate), keys, simulate, files)


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError([Problem("", f"cannot be read: {error.strerror}", 0, path)]) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError([Problem("", "is no UTF-8 text", line, path)]) from None


def _catalog(raw: Mapping[str, Any], document: Document) -> tuple[Document, str]:
    """Return the parsed catalog and its file's path, "" for a built-in one."""
    name = raw.get("catalog", "default")
    if not isinstance(name, str) or not name:
        name = "default"  # the validation of `catalog` itself says what is wrong with it
    if name in BUILT_IN_CATALOGS:
        text = resources.files("atlas_sidecar.catalog").joinpath(f"{name}.yaml").read_text("utf-8")
        return parse(text, f"catalog {name}"), ""
    base = Path(document.source).parent if document.source != "environment" else Path()
    file = str(base / name)
    try:
        parsed = parse(_read(file), file)
    except ConfigError as error:
        if "/" in name or name.endswith((".yaml", ".yml")) or Path(file).exists():
            raise
        near = nearest(name, BUILT_IN_CATALOGS)
        hint = f"; did you mean {near}?" if near else f"; built in are {', '.join(BUILT_IN_CATALOGS)}"
        problem = document.problem(("catalog",), f"'{name}' is no built-in catalog and no file{hint}")
        raise ConfigError([problem]) from error
    try:
        Catalog.model_validate(parsed.value if parsed.value is not None else {})
    except ValidationError as error:
        raise ConfigError([*parsed.problems, *explain(error, Catalog, parsed)]) from None
    if parsed.problems:
        raise ConfigError(parsed.problems)
    return parsed, file


def _merged(raw: Mapping[str, Any], catalog: Document) -> dict[str, Any]:
    """Merge models key by key, and roles whole, over the catalog's; what has the wrong type is left for validation."""
    merged = dict(raw)
    for section in ("models", "roles"):
        given = raw.get(section, {})
        if not isinstance(given, dict):
            continue
        merged[section] = {name: dict(entry) for name, entry in catalog.value.get(section, {}).items()}
        for name, entry in given.items():
            base = merged[section].get(name)
            both = section == "models" and isinstance(base, dict) and isinstance(entry, dict)
            merged[section][name] = {**base, **entry} if both else entry
    return merged


def _listen_from_environment(merged: dict[str, Any], environ: Mapping[str, str], document: Document) -> None:
    given = environ.get("ATLAS_LISTEN", "").strip()
    if not given:
        return
    merged["listen"] = [address.strip() for address in given.split(",") if address.strip()]
    for path in [path for path in document.lines if path[0] == "listen"]:
        del document.lines[path]


def _validated(merged: Mapping[str, Any], document: Document) -> Settings:
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise ConfigError([*document.problems, *explain(error, Settings, document)]) from None


def _with_providers(settings: Settings, environ: Mapping[str, str], *, simulate: bool) -> Settings:
    """Fill in the providers where the configuration names none: by their key variables, or all of them simulated."""
    if settings.providers is not None:
        return settings
    found = {
        kind: ProviderEntry(kind=kind)
        for kind, variables in KEY_VARIABLES.items()
        if simulate or any(environ.get(variable, "").strip() for variable in variables)
    }
    if not found:
        names = ", ".join(" or ".join(variables) for variables in KEY_VARIABLES.values())
        message = (
            f"no provider: none is configured, and none of these variables is set: {names}. "
            "Set one, or name `providers` in a file (--config FILE); "
            "to try it without any key: atlas-sidecar serve --simulate"
        )
        raise ConfigError([Problem("", message)])
    return settings.model_copy(update={"providers": found})


def _key(name: str, entry: ProviderEntry, environ: Mapping[str, str]) -> KeySource:
    kind = entry.kind_of(name)
    if kind == "simulated":
        return KeySource("needs no key", secret=SecretStr("simulated"))
    if entry.api_key is not None:
        return KeySource("api_key", secret=entry.api_key)
    if entry.api_key_file is not None:
        return KeySource(f"file {entry.api_key_file}", file=entry.api_key_file)
    variables = (entry.api_key_env,) if entry.api_key_env else KEY_VARIABLES.get(kind, _OTHER_VARIABLES.get(kind, ()))
    for variable in variables:
        value = environ.get(variable, "").strip()
        if value:
            return KeySource(variable, secret=SecretStr(value))
    if kind in PLATFORM_KINDS and not entry.api_key_env:
        return KeySource("the platform's credentials", platform=True)
    return KeySource(" or ".join(variables))


def version_of(settings: BaseModel, simulate: bool = False) -> str:
    """Return a short hash of the settings: equal ones have equal versions; keys and header values do not count."""
    data = settings.model_dump(mode="json")
    for entry in (data.get("providers") or {}).values():
        entry["api_key"] = entry["api_key"] is not None
        entry["headers"] = sorted(entry["headers"])
    text = json.dumps([simulate, data], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
