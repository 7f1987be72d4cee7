"""The modules of one provider know nothing of another's: only the wire package and the settings are shared."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import atlas_sidecar.adapters.providers

PACKAGE = "atlas_sidecar.adapters.providers."
MODULES = sorted(Path(atlas_sidecar.adapters.providers.__file__).parent.glob("[a-z]*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_imports_its_own_family_the_wire_and_the_settings(path: Path) -> None:
    family = path.stem.split("_")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            if name.startswith(PACKAGE):
                other = name.removeprefix(PACKAGE).split(".")[0].split("_")[0]
                assert other in {family, "wire", "settings"}, f"{path.name} imports {name}"
