"""The checked-in stubs: importable on the oldest promised protobuf, and complete against the contract."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, FileDescriptor, ServiceDescriptor

from atlas_api.v1 import budget_pb2, budget_pb2_grpc, router_pb2, router_pb2_grpc

ROOT = Path(__file__).parents[2]
CONTRACT = ROOT.parent / "shared" / "contract" / "atlas_api" / "v1"
STUBS = ROOT / "clients" / "python" / "atlas_api" / "v1"
FILES: tuple[FileDescriptor, ...] = (router_pb2.DESCRIPTOR, budget_pb2.DESCRIPTOR)

Names = set[str]


def generated_protobuf_version(path: Path) -> tuple[int, int, int]:
    """Read the version that generated code demands of the runtime: the arguments of its own check."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("ValidateProtobufRuntimeVersion"):
            major, minor, patch = (ast.literal_eval(argument) for argument in node.args[1:4])
            return major, minor, patch
    raise AssertionError(f"{path.name} checks no runtime version")


def nested(message: Descriptor) -> Iterator[Descriptor]:
    yield message
    for inner in message.nested_types:
        yield from nested(inner)


def stub_names() -> Names:
    """Every message, field, enum value and method of the stubs, by full name and number."""
    names: Names = set()
    for file in FILES:
        enums = list(file.enum_types_by_name.values())
        for message in (each for top in file.message_types_by_name.values() for each in nested(top)):
            names.add(f"message {message.name}")
            names |= {f"{message.name}.{field.name} = {field.number}" for field in message.fields}
            enums += message.enum_types
        names |= {f"{value.name} = {value.number}" for enum in enums for value in enum.values}
        services: list[ServiceDescriptor] = list(file.services_by_name.values())
        names |= {f"rpc {service.name}.{method.name}" for service in services for method in service.methods}
    return names


BLOCK = re.compile(r"(message|enum|oneof|service)\s+(\w+)\s*\{|(\})|rpc\s+(\w+)|(\w+)\s*=\s*(\d+)\s*;")


def contract_names(text: str) -> Names:
    """Read the same names out of a .proto file, with as much grammar as the contract uses."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)
    names: Names = set()
    open_blocks: list[tuple[str, str]] = []
    for kind, block, closes, method, field, number in BLOCK.findall(text.partition("\nimport ")[2]):
        owner = next((name for block_kind, name in reversed(open_blocks) if block_kind != "oneof"), "")
        if closes:
            if open_blocks:
                open_blocks.pop()
        elif block:
            open_blocks.append((kind, block))
            if kind == "message":
                names.add(f"message {block}")
        elif method:
            names.add(f"rpc {owner}.{method}")
        elif open_blocks and open_blocks[-1][0] == "enum":
            names.add(f"{field} = {number}")
        elif field:
            names.add(f"{owner}.{field} = {number}")
    return names


@pytest.mark.parametrize("module", ["router_pb2", "budget_pb2"])
def test_generated_code_asks_for_no_newer_protobuf_than_6_31_0(module: str) -> None:
    assert generated_protobuf_version(STUBS / f"{module}.py") <= (6, 31, 0)


@pytest.mark.parametrize("module", ["router_pb2_grpc", "budget_pb2_grpc"])
def test_generated_code_asks_for_no_newer_grpcio_than_the_client_distribution(module: str) -> None:
    generated: str = importlib.import_module(f"atlas_api.v1.{module}").GRPC_GENERATED_VERSION
    floor = re.search(r'"grpcio>=([\d.]+)"', (ROOT / "clients" / "python" / "pyproject.toml").read_text())
    assert floor is not None
    assert [int(part) for part in generated.split(".")] <= [int(part) for part in floor[1].split(".")]


@pytest.mark.parametrize("name", ["router.proto", "budget.proto"])
def test_every_message_field_value_and_method_of_the_contract_is_in_the_stubs(name: str) -> None:
    if not CONTRACT.is_dir():
        pytest.skip("the contract is absent: ../shared/contract")
    expected = contract_names((CONTRACT / name).read_text())
    assert len(expected) > 100
    assert expected - stub_names() == set()


def test_every_message_can_be_made_and_survives_the_wire() -> None:
    for module in (router_pb2, budget_pb2):
        for top in module.DESCRIPTOR.message_types_by_name:
            kind = getattr(module, top)
            assert kind.FromString(kind().SerializeToString()) == kind()


def test_both_services_have_a_stub_and_a_servicer() -> None:
    for module, service in ((router_pb2_grpc, "Router"), (budget_pb2_grpc, "Budget")):
        assert {f"{service}Stub", f"{service}Servicer", f"add_{service}Servicer_to_server"} <= set(dir(module))


def test_the_stubs_are_typed() -> None:
    assert (STUBS.parent / "py.typed").is_file()
    assert {path.name for path in STUBS.glob("*.pyi")} == {
        f"{name}{suffix}.pyi" for name in ("router_pb2", "budget_pb2") for suffix in ("", "_grpc")
    }
