"""A server of its own for the demo: `raincheck serve` as a child process, in a temporary folder that goes with it."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from raincheck.cli.exits import Problem

START_WITHIN = 40.0
STOP_WITHIN = 10.0
KEPT = frozenset({"RAINCHECK_MODEL_DIR", "RAINCHECK_OFFLINE"})
"""Variables that hold for the demo too; the others are about someone's real server."""


class Sandbox:
    """Entering starts the server; leaving stops it and removes all that it kept."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="raincheck-demo-")
        self._process: subprocess.Popen[bytes] | None = None
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clean_up()

    def start(self) -> None:
        """Start the server on the folder's store; returns once it answers. Raises Problem with its last words."""
        folder = Path(self._folder.name)
        environ = {k: v for k, v in os.environ.items() if not k.startswith("RAINCHECK_") or k in KEPT}
        command = [sys.executable, "-m", "raincheck.cli.main", "serve", "--port", str(self._port)]
        with (folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                command,
                cwd=folder,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the demo, which then stops the server in good order
            )
        until = time.monotonic() + START_WITHIN
        while not is_ready(self.url):
            if self._process.poll() is not None or time.monotonic() > until:
                words = (folder / "server.log").read_text(errors="replace").strip().splitlines()[-6:]
                raise Problem("the demo's server did not start:\n  " + "\n  ".join(words))
            time.sleep(0.05)

    def kill(self) -> None:
        """End the server as a power cut would: SIGKILL, no farewell."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _clean_up(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_WITHIN)
            except subprocess.TimeoutExpired:
                self.kill()
        self._folder.cleanup()


def is_ready(url: str) -> bool:
    """True when a Raincheck server answers there and can take work."""
    from urllib.error import URLError
    from urllib.request import ProxyHandler, build_opener

    try:
        # Whatever proxy is set is for other places than a server of one's own.
        with build_opener(ProxyHandler({})).open(f"{url}/health/ready", timeout=2) as reply:
            return "Raincheck-Version" in reply.headers
    except (URLError, OSError, ValueError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
