"""Our encoder says what the SDK's own says, of any span that we make."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as by_the_sdk
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from atlas_sidecar.adapters.telemetry.otlp import BytesExporter

RESOURCE = Resource({"service.name": "atlas-sidecar", "telemetry.sdk.language": "python"})
SCOPE = InstrumentationScope("atlas_sidecar", "1.2.3")
STATES = st.dictionaries(st.sampled_from(["a", "vendor", "x@y"]), st.sampled_from(["1", "two-2"]), max_size=3)
CONTEXTS = st.builds(
    lambda trace_id, span_id, remote, state: SpanContext(
        trace_id, span_id, remote, TraceFlags(1), TraceState(list(state.items()))
    ),
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
    STATES,
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
VALUES: st.SearchStrategy[Any] = st.one_of(
    TEXTS,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.lists(TEXTS, max_size=4),
    st.lists(TEXTS, max_size=4).map(tuple),
)
STATUSES = st.one_of(
    st.just(Status(StatusCode.UNSET)),
    st.builds(lambda text: Status(StatusCode.ERROR, text), TEXTS),
    st.just(Status(StatusCode.OK)),
)
SPANS = st.builds(
    ReadableSpan,
    name=TEXTS,
    context=CONTEXTS,
    parent=st.one_of(st.none(), CONTEXTS),
    resource=st.just(RESOURCE),
    attributes=st.dictionaries(TEXTS, VALUES, max_size=12),
    links=st.lists(CONTEXTS.map(Link), max_size=2),
    kind=st.sampled_from(list(SpanKind)),
    status=STATUSES,
    start_time=st.integers(0, 2**63),
    end_time=st.integers(0, 2**63),
    instrumentation_scope=st.just(SCOPE),
)


@given(st.lists(SPANS, min_size=1, max_size=4))
def test_it_equals_the_sdks_own(spans: list[ReadableSpan]) -> None:
    exporter = BytesExporter(endpoint="http://127.0.0.1:1")
    try:
        ours = exporter._translate_data(spans)
    finally:
        exporter.shutdown()
    assert isinstance(ours, ExportTraceServiceRequest)
    assert ours == by_the_sdk(spans)


def test_the_sdks_exporter_still_asks_for_the_translation_that_we_replace() -> None:
    assert "_translate_data" in vars(OTLPSpanExporter)
