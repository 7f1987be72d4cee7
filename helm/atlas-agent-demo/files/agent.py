"""Asks the sidecar beside it, again and again or (--once) one time, and prints what came back.

It needs the package `atlas-api` alone. The sidecar picks the model, retries and falls back: an agent only reads the
stream.
"""

import argparse
import os
import signal
import sys
import threading

import grpc

from atlas_api.v1 import router_pb2 as pb
from atlas_api.v1.router_pb2_grpc import RouterStub

TIMEOUT_S = 120


def ask(router: RouterStub, prompt: str, role: str) -> bool:
    """Ask one question; return whether it was answered."""
    message = pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, parts=[pb.Part(text=prompt)])
    request = pb.GenerateRequest(messages=[message], requirements=pb.Requirements(agent_type=role))
    try:
        for event in router.Generate(request, timeout=TIMEOUT_S):
            kind = event.WhichOneof("event")
            if kind == "delta":
                print(event.delta.text, end="", flush=True)
            elif kind == "hop_failed":
                print(f"[{event.hop_failed.model.id} failed, another one is asked]", file=sys.stderr)
            elif kind == "completed":
                print(f"\n[answered by {event.completed.model.id}]", flush=True)
                return True
    except grpc.RpcError as error:
        print(f"[no answer: {error.code().name}: {error.details()}]", file=sys.stderr, flush=True)
    return False


def main() -> int:
    """Ask until SIGTERM, or once; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--role", default="")
    parser.add_argument("--every", type=float, default=30, help="seconds")
    parser.add_argument("--once", action="store_true")
    arguments = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with grpc.insecure_channel(os.environ.get("ATLAS_TARGET", "127.0.0.1:50051")) as channel:
        router = RouterStub(channel)
        if arguments.once:
            return 0 if ask(router, arguments.prompt, arguments.role) else 1
        while not stop.is_set():
            ask(router, arguments.prompt, arguments.role)
            stop.wait(arguments.every)
    return 0


if __name__ == "__main__":
    sys.exit(main())
