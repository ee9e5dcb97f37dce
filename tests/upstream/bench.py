"""A bench over a folder: the inputs lie there already, under the names that the payload calls them by."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from raincheck.core.errors import MediaRefused
from raincheck.core.videos import Source
from raincheck.upstream.protocol import Brought


class FolderBench:
    """A folder for what is made, and inputs by name: `{"clip.mp4": (path, "video/mp4")}`."""

    def __init__(self, folder: Path, inputs: Mapping[str, tuple[Path, str]] | None = None) -> None:
        self._folder = folder
        self._inputs = inputs or {}

    @property
    def folder(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    async def bring(self, source: Source) -> Brought:
        name = source.attachment or source.url or ""
        if name not in self._inputs:
            raise MediaRefused(f"{name} is not there.")
        path, content_type = self._inputs[name]
        brought = self.folder / f"input-{path.name}"
        shutil.copyfile(path, brought)
        return Brought(brought, content_type, brought.stat().st_size)
