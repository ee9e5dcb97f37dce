"""Gives each attempt a folder of its own on this machine and its inputs as files in it; clears away what is left."""

import asyncio
import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from raincheck.core.errors import MediaRefused, NotFound, SettingsInvalid
from raincheck.core.model import Attachment, Lease
from raincheck.core.videos import Source
from raincheck.dispatch.outage import endured
from raincheck.store.blobs import BlobStore
from raincheck.store.protocol import Requests
from raincheck.upstream.media.check import check
from raincheck.upstream.media.fetch import STRANGERS, fetch
from raincheck.upstream.media.limits import MediaLimits
from raincheck.upstream.media.sniff import ending_of
from raincheck.upstream.protocol import Brought


class Benches:
    """Where attempts of this process work: `raincheck-<user>/<process>/<attempt>` in the scratch folder.

    A process holds a lock on its folder for as long as it lives, so what a crash has left can be told from what is in
    use. (Those who clean up temporary folders by age respect that lock, too.) Nothing is made before it is asked for.
    """

    def __init__(self, requests: Requests, objects: BlobStore | None, limits: MediaLimits, scratch: str | None) -> None:
        self.requests = requests
        self.objects = objects
        self.limits = limits
        self._root = Path(scratch or tempfile.gettempdir()).absolute() / f"raincheck-{os.getuid()}"
        self._home: tuple[Path, int] | None = None
        """The folder of this process, and the open handle that has the lock on it."""
        self._making = threading.Lock()

    async def start(self) -> None:
        """Remove what dead processes have left."""
        await asyncio.to_thread(self._clear)

    async def close(self) -> None:
        """Remove the folder of this process."""
        if self._home is not None:
            (home, handle), self._home = self._home, None
            await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)
            os.close(handle)

    def bench(self, lease: Lease) -> "Workbench":
        """A place for one attempt. Close it when the attempt has been recorded."""
        return Workbench(self, lease)

    def home(self) -> Path:
        """The folder of this process. Raises SettingsInvalid when it would be in another user's hands."""
        with self._making:
            if self._home is None or not self._home[0].is_dir():
                self._home = self._settle()
            return self._home[0]

    def _settle(self) -> tuple[Path, int]:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_mine(self._root):
            raise SettingsInvalid(f"{self._root} belongs to another user; name a folder of your own with `scratch`.")
        while True:
            home = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=self._root))
            # Before it is locked, another process that clears up may take it for a dead one's.
            if (handle := _locked(home)) is not None:
                if home.is_dir():
                    return home, handle
                os.close(handle)

    def _clear(self) -> None:
        if not _is_mine(self._root):
            return
        for left in self._root.iterdir():
            if left.is_dir() and (handle := _locked(left)) is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(handle)


class Workbench:
    """One attempt's place (upstream.protocol.Bench)."""

    def __init__(self, benches: Benches, lease: Lease) -> None:
        self._benches = benches
        self._lease = lease
        self._folder: Path | None = None
        self._closed = False
        self._brought: dict[Source, Brought] = {}
        self._bringing = asyncio.Lock()

    @property
    def folder(self) -> Path:
        if self._closed:  # A handler that was cancelled and has yet to return may still ask.
            raise RuntimeError("The attempt is over.")
        if self._folder is None:
            fence = self._lease.fence
            folder = self._benches.home() / f"{fence.request_id}.{fence.number}"
            folder.mkdir(mode=0o700, exist_ok=True)
            self._folder = folder
        return self._folder

    async def bring(self, source: Source) -> Brought:
        async with self._bringing:
            if (brought := self._brought.get(source)) is None:
                brought = self._brought[source] = await self._bring(source)
            return brought

    async def close(self) -> None:
        """Remove the folder, if there is one."""
        self._closed = True
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _bring(self, source: Source) -> Brought:
        inputs = self.folder / "inputs"
        inputs.mkdir(exist_ok=True)
        path = inputs / f"{len(self._brought) + 1}"
        if source.url is not None:
            await fetch(source.url, path, self._benches.limits, patience=STRANGERS)
        else:
            await self._copy(source.attachment or "", path)
        checked = await check(path, self._benches.limits)
        # Some programs go by the end of a name.
        named = path.rename(path.with_suffix(ending_of(checked.content_type)))
        return Brought(named, checked.content_type, checked.size)

    async def _copy(self, name: str, path: Path) -> None:
        """An input attachment, from the object store. An outage is waited for, as the end of the attempt would be."""
        if (objects := self._benches.objects) is None:
            raise MediaRefused(f"The input {name!r} cannot be read: this worker has no object store (`store.blobs`).")

        async def copied() -> None:
            attachment = await self._attachment(name)
            await _write(path, objects.read(attachment.blob, 0, attachment.size))

        try:
            await endured(copied)
        except NotFound as error:
            raise MediaRefused(f"The input {name!r} is not there any more.") from error

    async def _attachment(self, name: str) -> Attachment:
        lease = self._lease
        for each in await self._benches.requests.attachments(lease.tenant, lease.fence.request_id):
            if each.role == "input" and each.name == name:
                return each
        raise MediaRefused(f"The request has no input by the name {name!r}.")


async def _write(path: Path, pieces: AsyncIterator[bytes]) -> None:
    with path.open("wb") as file:
        async for piece in pieces:
            await asyncio.to_thread(file.write, piece)


def _is_mine(folder: Path) -> bool:
    """Whether a folder is there, and no one else's: temporary folders are shared, and names in them can be guessed."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    return folder.is_dir() and not folder.is_symlink() and found.st_uid == os.getuid()


def _locked(folder: Path) -> int | None:
    """A handle with the lock on a folder; None while a living process has it, or when it is gone."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
        else:
            return handle
    return None
