"""Every line on stderr is a JSON object, whoever wrote it: gRPC's C core too, which knows nothing of Python's log."""

import json
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.e2e.process import serving


def test_what_grpcs_core_says_of_strangers_at_a_tls_port_comes_out_like_every_other_line(tmp_path: Path) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    made = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "2"]
    subprocess.run(["openssl", "req", "-x509", *made, "-subj", "/CN=localhost"], check=True, capture_output=True)
    config = tmp_path / "atlas.yaml"
    config.write_text(f"tls: {{cert_file: {certificate}, key_file: {key}, client_ca_file: {certificate}}}\n")
    with serving(tmp_path / "home", "--simulate", "--config", str(config), GRPC_VERBOSITY="INFO") as served:
        host, _, port = served.address.rpartition(":")
        for said in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + bytes(200)):
            with socket.create_connection((host, int(port)), timeout=5) as stranger:
                stranger.sendall(said)
                with suppress(ConnectionError):
                    stranger.recv(100)
        assert served.stop() == 0
    lines = [json.loads(line) for line in served.log.splitlines()]
    assert all(line["message"] for line in lines)
    core = [line["message"] for line in lines if line["logger"] == "grpc.core"]
    assert sum("Handshake failed" in message for message in core) == 2
