"""The scenarios of clients/conformance in Python, both clients, and old clients against today's sidecar."""

import asyncio
import importlib.util
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.unknown_fields import UnknownFieldSet

from atlas_api import aio, client
from atlas_api.errors import AtlasError
from atlas_api.settings import Patience, sayable_s
from atlas_api.v1 import router_pb2 as pb
from atlas_api.v1.router_pb2_grpc import add_RouterServicer_to_server
from clients.conformance.doubles import Double, Leaving, Lost
from clients.conformance.doubles import serving as double_serving
from clients.conformance.judging import differences, judge
from clients.conformance.run import Cell, conform, disagreements
from clients.conformance.scenarios import Scenario, load
from tests.e2e.process import Served, serving

CONTRACT = Path(__file__).parents[3] / "shared" / "contract"
SCENARIOS = load()
RUNS = [f"{runner}-{transport}" for runner in ("python", "python-asyncio") for transport in ("tcp", "unix")]
REQUEST = pb.GenerateRequest(messages=[pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, parts=[pb.Part(text="hello")])])


@pytest.fixture(scope="module")
def matrix() -> dict[str, list[Cell]]:
    return conform(SCENARIOS, ["python", "python-asyncio"])


@pytest.mark.timeout(180)  # the first one runs them all
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_scenario_holds_in_both_clients_over_both_transports(
    scenario: Scenario, matrix: Mapping[str, Sequence[Cell]]
) -> None:
    assert list(matrix) == RUNS
    assert {run: matrix[run][scenario.number - 1].wrong for run in RUNS} == dict.fromkeys(RUNS, ())


@pytest.mark.timeout(180)
def test_both_clients_see_the_same_over_both_transports(matrix: Mapping[str, Sequence[Cell]]) -> None:
    assert disagreements(SCENARIOS, matrix) == []


def test_there_are_enough_scenarios_and_each_has_a_name_of_its_own() -> None:
    assert len(SCENARIOS) >= 25
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)


def test_a_scenario_can_fail() -> None:
    scenario = next(each for each in SCENARIOS if each.name == "an overloaded model is followed by the next")
    seen = {"status": "OK", "events": [{"started": {}}, {"delta": {"text": "x"}}, {"completed": {}}], "attempts": 0}
    assert len(judge(scenario, seen)) == 1
    assert differences(["started", {"delta": {"text": "y"}}, "completed"], seen["events"], ".events") == [
        ".events[1].delta.text: expected 'y', not 'x'"
    ]
    assert differences({"status": "ABORTED"}, seen) != []
    assert differences({"next": None}, {"next": {"id": "b"}}) != []


# ---------------------------------------------------------------- what is sent again, and what is not


@pytest.fixture
def served(request: pytest.FixtureRequest) -> Iterator[tuple[str, Double]]:
    service: Double = request.param()
    with double_serving(service) as target:
        yield target, service


def collect(target: str, kind: str, patience_s: float = 3.0) -> pb.Completed:
    if kind == "sync":
        with client.connect(target, patience_s=patience_s) as router:
            return router.generate(REQUEST, 10).collect()

    async def run() -> pb.Completed:
        async with aio.connect(target, patience_s=patience_s) as router:
            return await router.generate(REQUEST, 10).collect()

    return asyncio.run(run())


@pytest.mark.parametrize("kind", ["sync", "asyncio"])
@pytest.mark.parametrize("served", [Leaving], indirect=True)
def test_a_call_that_a_leaving_sidecar_refused_is_sent_again(served: tuple[str, Double], kind: str) -> None:
    target, service = served
    assert collect(target, kind).finish_reason == pb.FINISH_REASON_STOP
    assert service.calls == 3


@pytest.mark.parametrize("kind", ["sync", "asyncio"])
@pytest.mark.parametrize("served", [lambda: Leaving(99)], indirect=True)
def test_patience_ends_and_the_error_says_why(served: tuple[str, Double], kind: str) -> None:
    with pytest.raises(AtlasError) as raised:
        collect(served[0], kind, patience_s=0.5)
    assert raised.value.reason == "DRAINING"
    assert raised.value.failure == pb.Failure(reason="DRAINING")


@pytest.mark.parametrize("kind", ["sync", "asyncio"])
@pytest.mark.parametrize("served", [Lost, lambda: Lost(started=True)], indirect=True, ids=["at once", "after an event"])
def test_a_call_that_may_have_cost_something_is_never_sent_again(served: tuple[str, Double], kind: str) -> None:
    target, service = served
    with pytest.raises(AtlasError) as raised:
        collect(target, kind)
    assert raised.value.code is grpc.StatusCode.UNAVAILABLE
    assert service.calls == 1


@pytest.mark.parametrize("kind", ["sync", "asyncio"])
def test_a_sidecar_that_starts_later_than_its_agent_is_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "router.sock"
    server = grpc.server(futures.ThreadPoolExecutor(2))
    add_RouterServicer_to_server(Double(), server)

    def start() -> None:
        time.sleep(0.5)
        server.add_insecure_port(f"unix:{path}")
        server.start()

    later = threading.Thread(target=start)
    later.start()
    try:
        assert collect(f"unix:{path}", kind, patience_s=10).finish_reason == pb.FINISH_REASON_STOP
    finally:
        later.join()
        server.stop(None).wait()


class Listening(Double):
    """Notes how much time its callers leave it."""

    def __init__(self) -> None:
        super().__init__()
        self.left_s: list[float] = []

    def events(self, context: Any) -> Iterator[pb.GenerateEvent]:
        self.left_s.append(context.time_remaining())
        return super().events(context)


@pytest.mark.parametrize("timeout_s", [1.234, 12.34, 99.95, 345.2, 600, 4321])
def test_the_sidecar_hears_of_no_later_deadline_than_the_callers(timeout_s: float) -> None:
    service = Listening()
    with double_serving(service) as target, client.connect(target) as router:
        router.generate(REQUEST, 10).collect()  # connects
        router.generate(REQUEST, timeout_s).collect()
    assert 0.98 * timeout_s - 0.5 < service.left_s[1] < timeout_s + 0.02


@pytest.mark.parametrize(("left_s", "said_s"), [(0, 0), (9.876, 9.876), (59.97, 59.9), (345.2, 345), (7_205, 7_200)])
def test_a_deadline_is_cut_to_what_grpc_can_say(left_s: float, said_s: float) -> None:
    assert sayable_s(left_s) == pytest.approx(said_s, abs=0.006)


# ---------------------------------------------------------------- an old client against a new server, and the other way


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("sidecar"), "--simulate") as served:
        yield served


def in_process_of_its_own(folder: Path, program: str, *arguments: str) -> str:
    """Run a program whose `atlas_api` is the one of `folder`: two versions of one proto package share no process."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{program}", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


OLD_CLIENT = """
import grpc
from atlas_api.v1 import router_pb2 as pb
from atlas_api.v1.router_pb2_grpc import RouterStub
import atlas_api
assert list(atlas_api.__path__)[0].startswith(sys.path[0]), atlas_api.__path__
prompt = pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, parts=[pb.Part(text="hello")])
with grpc.insecure_channel(sys.argv[1]) as channel:
    router = RouterStub(channel)
    assert router.Select(pb.SelectRequest(), timeout=10).decision.selected.id
    assert router.Health(pb.HealthRequest(), timeout=10).status == pb.HealthResponse.STATUS_SERVING
    events = list(router.Generate(pb.GenerateRequest(messages=[prompt], explain=True), timeout=20))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[0] == "started" and kinds[-1] == "completed" and set(kinds[1:-1]) == {"delta"}, kinds
    assert events[0].started.decision.selected == events[-1].completed.model
    print("".join(event.delta.text for event in events) == events[-1].completed.message.parts[0].text)
"""


def test_a_client_of_the_contracts_stubs_is_served_by_todays_sidecar(tmp_path: Path, sidecar: Served) -> None:
    if not CONTRACT.is_dir():
        pytest.skip("the contract is absent: ../shared/contract")
    if importlib.util.find_spec("grpc_tools") is None:
        pytest.skip("grpcio-tools is not installed here: it has no wheels for this Python")
    protos = [str(path.relative_to(CONTRACT)) for path in sorted(CONTRACT.rglob("*.proto"))]
    outputs = [f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}"]
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={CONTRACT}", *outputs, *protos]
    subprocess.run(protoc, check=True, timeout=60)
    for folder in (tmp_path / "atlas_api", tmp_path / "atlas_api" / "v1"):
        (folder / "__init__.py").touch()
    assert in_process_of_its_own(tmp_path, OLD_CLIENT, sidecar.address).strip() == "True"


def later_request() -> bytes:
    """A request as a later version might send it: with a field that is not known here."""
    return REQUEST.SerializeToString() + b"\xc2\x3e\x05later"  # field 1000, a string


def test_a_request_with_fields_of_a_later_version_is_served(sidecar: Served) -> None:
    with grpc.insecure_channel(sidecar.address) as channel:
        call: Any = channel.unary_stream("/atlas_api.v1.Router/Generate")
        events = [pb.GenerateEvent.FromString(raw) for raw in call(later_request(), timeout=20)]
    assert events[-1].HasField("completed")


def test_unknown_fields_and_enum_values_survive_a_round_trip() -> None:
    message = pb.ChatMessage(role=7, parts=[pb.Part(text="kept")])  # type: ignore[arg-type]  # a value of a later version
    raw = message.SerializeToString() + b"\xc2\x3e\x05later"
    again = pb.ChatMessage.FromString(pb.ChatMessage.FromString(raw).SerializeToString())
    assert again.role == 7
    unknown: Any = UnknownFieldSet(again)  # typed as if it could not be iterated
    assert [(field.field_number, field.data) for field in unknown] == [(1000, b"later")]


def test_an_event_kind_of_a_later_version_is_passed_over_by_the_helper() -> None:
    later = pb.GenerateEvent.FromString(b"\x08\x01\xc2\x3e\x05later")
    with_it = [later, pb.GenerateEvent(seq=2, delta=pb.PartDelta(text="hi"))]
    answer = client.Answer(lambda _: Replayed(with_it), Patience(10, 1))
    assert list(answer.text()) == ["hi"]


class Replayed:
    """A call that yields what it is given."""

    def __init__(self, events: Sequence[pb.GenerateEvent]) -> None:
        self._events = events

    def __iter__(self) -> Iterator[pb.GenerateEvent]:
        return iter(self._events)

    def cancel(self) -> None:
        """Do nothing."""
