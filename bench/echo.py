"""The floor: a bare grpc.aio server that returns what it gets, as bytes; one call, or a stream of 100 writes.

It also is the telemetry collector of the sidecars that are measured: it takes OTLP and counts the calls.

    python -m bench.echo        prints its address
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import grpc
import grpc.aio

UNARY: Final = "/bench.Echo/Unary"
STREAM: Final = "/bench.Echo/Stream"
WRITES: Final = 100
_OTLP: Final = "/opentelemetry.proto.collector."


async def _unary(request: bytes, _: Any) -> bytes:
    return request


async def _stream(request: bytes, context: Any) -> None:
    for _ in range(WRITES):
        await context.write(request)


async def _swallow(_request: bytes, _: Any) -> bytes:
    return b""


class _Handlers(grpc.GenericRpcHandler):
    def service(self, details: Any) -> Any:
        if details.method == UNARY:
            return grpc.unary_unary_rpc_method_handler(_unary)
        if details.method == STREAM:
            return grpc.unary_stream_rpc_method_handler(_stream)
        return grpc.unary_unary_rpc_method_handler(_swallow) if details.method.startswith(_OTLP) else None


async def main() -> None:
    """Serve until stopped."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
