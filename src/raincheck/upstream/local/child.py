"""The process that holds the model: takes its settings as arguments, serves llama.cpp's HTTP server on a Unix socket.

Run as `python -m raincheck.upstream.local.child`; a process of its own, because a crash in native code must not take
the server with it. It says one JSON line on standard output, `{"ready": true}` or `{"error": code, "message": words}`,
and lives until it is told to end or its parent is gone.
"""

import argparse
import ctypes
import importlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any, NoReturn


def main() -> None:
    arguments = _arguments()
    socket = Path(arguments.socket)
    with os.fdopen(os.dup(1), "w") as parent:
        os.dup2(2, 1)  # whatever native code prints must not be taken for our line
        _end_with_parent(socket.parent)
        try:
            server = _serve(arguments, socket)
        except ImportError as error:
            _fail(parent, "import_failed", str(error))
        except RuntimeError as error:
            _fail(parent, "init_failed", str(error))
        print(json.dumps({"ready": True}), file=parent, flush=True)
        while server:
            signal.pause()


def _serve(arguments: argparse.Namespace, socket: Path) -> object:
    llama: Any = importlib.import_module("xllamacpp")  # it has no type stubs; its names are pinned with its version
    params = llama.CommonParams()
    params.model.path = arguments.model
    params.model_alias = {arguments.alias}
    params.hostnames = [str(socket)]
    params.n_parallel = arguments.parallel
    params.n_ctx = arguments.parallel * arguments.context
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = arguments.threads
    params.cache_ram_mib = 0  # the default lets the prompt cache grow to 8 GiB
    params.use_jinja = params.endpoint_metrics = params.endpoint_slots = True
    params.ui = params.fit_params = False
    params.offline = True
    params.n_gpu_layers = 0
    params.verbosity = 1
    socket.unlink(missing_ok=True)  # left by a predecessor that was killed
    return llama.Server(params)


def _end_with_parent(folder: Path) -> None:
    """End when told to, or when the parent is gone, however it went; then nobody else clears the socket's folder."""
    parent_id = os.getppid()

    def orphaned() -> NoReturn:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)

    def leave(*_: object) -> NoReturn:
        # The kernel sends this when the thread that started us dies, which may be a moment before the last one.
        for _attempt in range(50):
            if os.getppid() != parent_id:
                orphaned()
            time.sleep(0.01)
        os._exit(0)

    def leave_at_end_of_input() -> None:
        while os.read(0, 4096):
            pass
        orphaned()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    if sys.platform == "linux":
        # Beside the end of input, which a sibling that inherited the pipe's other end would hold back.
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
    threading.Thread(target=leave_at_end_of_input, daemon=True).start()


def _fail(parent: IO[str], code: str, message: str) -> NoReturn:
    print(json.dumps({"error": code, "message": message}), file=parent, flush=True)
    sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="raincheck.upstream.local.child")
    parser.add_argument("--model", required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--parallel", type=int, required=True)
    parser.add_argument("--context", type=int, required=True, help="tokens for each of the parallel requests")
    parser.add_argument("--threads", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
