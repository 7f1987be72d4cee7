"""The rules of the house that a linter cannot say: what each package may import, purity of the core, sizes.

Whoever needs a new library in a package adds it to the table below, and should hesitate.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "atlas_sidecar"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

PURE = frozenset(
    "__future__ abc base64 bisect collections contextlib copy dataclasses datetime decimal enum fractions functools "
    "hashlib heapq itertools json math operator re statistics string struct textwrap types typing unicodedata uuid "
    "zoneinfo".split()
)
STDLIB = frozenset(sys.stdlib_module_names)
WORLD = frozenset("os pathlib random secrets socket ssl sqlite3 subprocess tempfile threading time urllib".split())
TRACING_API = frozenset(f"opentelemetry.{part}" for part in ("baggage", "context", "metrics", "propagate", "trace"))
WIRE = frozenset({"atlas_api", "google.protobuf", "google.rpc", "grpc", "grpc_status"})
SERVE = WIRE | {"grpc_health", "grpc_reflection"}

# What each package may import beyond itself: the standard library or the part of it named, libraries, our own parts.
ALLOWED: dict[str, frozenset[str]] = {
    "core": PURE,
    "ports": PURE | {"atlas_sidecar.core"},
    "runtime": (STDLIB - WORLD) | TRACING_API | {"atlas_sidecar.core", "atlas_sidecar.ports", "aiocache"},
    "adapters": STDLIB
    | WIRE
    | {
        "atlas_sidecar.core",
        "atlas_sidecar.ports",
        "certifi",
        "yarl",
        "aiohttp",
        "anthropic",
        "genai_prices",
        "google",
        "groq",
        "httpx",
        "httpx2",
    }
    | {"httpx_aiohttp", "msgspec", "openai", "opentelemetry", "prometheus_client", "pydantic", "yarl"},
    "server": STDLIB | SERVE | TRACING_API | {"atlas_sidecar.core", "atlas_sidecar.runtime"},
    "budget_service": STDLIB | SERVE | {"atlas_sidecar.core", "prometheus_client", "psycopg", "psycopg_pool"},
    "config": STDLIB | {"atlas_sidecar.core", "atlas_sidecar.catalog", "pydantic", "pydantic_core", "yaml"},
    "cli": STDLIB | WIRE | {"atlas_sidecar.app", "atlas_sidecar.config", "atlas_sidecar.demo"},
}
FREE = frozenset(
    {"__init__", "__main__", "app", "catalog", "demo"}
)  # app puts everything together; demo shows all of it


def area(path: Path) -> str:
    """Name the row of the table that a module belongs to; `cli_budget.py` counts as cli."""
    top = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return top if top in ALLOWED or top in FREE else top.split("_")[0]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield every import of a module, wherever it stands, as (line, dotted name); only absolute ones are allowed."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def allowed(name: str, of: str) -> bool:
    own = f"atlas_sidecar.{of}"
    if name == "atlas_sidecar.__version__" or f"{name}.".startswith(f"{own}.") or name.startswith(f"{own}_"):
        return True
    parts = name.split(".")
    return any(".".join(parts[:length]) in ALLOWED[of] for length in range(1, len(parts) + 1))


def identify(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", MODULES, ids=identify)
def test_a_module_imports_only_what_its_package_may(path: Path) -> None:
    of = area(path)
    if of in FREE:
        return
    assert of in ALLOWED, f"{path.name}: no rule says what it may import; give it a row in tests/test_house.py"
    assert [f"{path.name}:{line}: {name}" for line, name in imports(path) if not allowed(name, of)] == []


@pytest.mark.parametrize("path", sorted((PACKAGE / "adapters" / "providers").rglob("*.py")), ids=identify)
def test_a_provider_imports_no_other_provider(path: Path) -> None:
    """`anthropic` and `anthropic_request` are one provider; `wire` and `settings` are what all of them share."""
    folder, providers = PACKAGE / "adapters" / "providers", "atlas_sidecar.adapters.providers."
    own = path.relative_to(folder).parts[0].removesuffix(".py").split("_")[0]
    used = {name.removeprefix(providers).split(".")[0] for _, name in imports(path) if name.startswith(providers)}
    others = {name.split("_")[0] for name in used if (folder / name).is_dir() or (folder / f"{name}.py").is_file()}
    assert others - {own, "wire", "settings"} == set()


@pytest.mark.parametrize("path", sorted((PACKAGE / "core").rglob("*.py")), ids=identify)
def test_the_core_neither_awaits_nor_reads_a_clock_nor_draws_ids(path: Path) -> None:
    impure = {"now", "today", "utcnow", "uuid1", "uuid4", "uuid7"}
    found = [
        f"{path.name}:{node.lineno}: {ast.unparse(node).splitlines()[0]}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith))
        or (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in impure)
        or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in {"open", "print", "input"}
        )
    ]
    assert found == []


@pytest.mark.parametrize("path", MODULES, ids=identify)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    long_functions = [
        f"{path.name}:{node.lineno}: {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= MAX_FUNCTION_LINES
    ]
    assert long_functions == []
    assert text.count("\n") <= MAX_FILE_LINES
