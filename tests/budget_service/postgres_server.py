"""A PostgreSQL server of the tests' own, from Debian's package: own user, own directory, Unix socket only."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUPERUSER = "postgres"


def binaries() -> Path | None:
    """Return the newest installed server's directory."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    return found[-1].parent if found else None


def missing() -> str:
    """Return why no server can be started, or an empty string."""
    if binaries() is None:
        return "PostgreSQL is not installed: make postgres"
    if os.geteuid() == 0 and not _user():
        return "PostgreSQL refuses to run as root, and there is no user postgres"
    return ""


def _user() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(SUPERUSER)
    except KeyError:
        return None


class Server:
    """A running server; `durable`: with fsync, for tests that kill it."""

    def __init__(self, directory: Path, *, durable: bool) -> None:
        self.directory = directory
        self.durable = durable
        self.binaries = binaries() or Path()
        user = _user() if os.geteuid() == 0 else None
        self.owner = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        if user:
            os.chown(directory, user.pw_uid, user.pw_gid)
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, *command: str) -> None:
        subprocess.run(  # type: ignore[call-overload]  # the owner's three keys
            [self.binaries / command[0], *command[1:]],
            check=True,
            capture_output=True,
            cwd=self.directory,
            **self.owner,
        )

    def create(self) -> None:
        self.run(
            "initdb", "-D", "data", "-U", SUPERUSER, "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"
        )

    def start(self) -> None:
        settings = {"listen_addresses": "", "unix_socket_directories": str(self.directory), "max_connections": "60"}
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        arguments = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        log = (self.directory / "log").open("ab")
        self.process = subprocess.Popen(  # type: ignore[call-overload]  # the owner's three keys
            [self.binaries / "postgres", "-D", "data", *arguments],
            stdout=log,
            stderr=log,
            cwd=self.directory,
            **self.owner,
        )
        log.close()
        deadline = time.monotonic() + 20
        while True:
            try:
                self.run("psql", "-h", str(self.directory), "-U", SUPERUSER, "-c", "select 1")
                return
            except subprocess.CalledProcessError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.05)

    def kill(self) -> None:
        """Stop it at once, as a crash would."""
        assert self.process
        (self.process.terminate if not self.durable else self.process.kill)()
        self.process.wait(20)

    def stop(self) -> None:
        """Stop it: fast shutdown."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(2)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def create_database(self, name: str) -> str:
        """Create an empty database; return its URL."""
        self.run("createdb", "-h", str(self.directory), "-U", SUPERUSER, name)
        return f"postgresql://{SUPERUSER}@/{name}?host={self.directory}"

    def drop_database(self, name: str) -> None:
        self.run("dropdb", "-h", str(self.directory), "-U", SUPERUSER, "--force", name)


@contextmanager
def running(*, durable: bool = False) -> Iterator[Server]:
    directory = Path(tempfile.mkdtemp(prefix="atlas-pg-"))
    server = Server(directory, durable=durable)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)
