"""A server of video jobs on a real socket, in OpenAI's words and in xAI's, that does as a test tells it to.

    async with ScriptedVideos() as server:
        server.plan(Plan(seconds=3), Plan(error={"code": "moderation_blocked", "message": "no"}))  # the next two jobs
        server.trouble("poll", Trouble(500), Trouble(drop=True))  # the next two looks at a job, whichever it is
        ...
        assert server.jobs[0].fields["prompt"] == "a cat"

As a process of its own: `python -m tests.scripted_videos --port 0 --seconds 60 --json-log jobs.jsonl`. A line of the
log says when a job has begun, has ended, was cancelled, deleted or forgotten; `POST /__forget` makes it forget all of
them, as a server does that keeps them in memory and is started anew.
"""

import argparse
import asyncio
import contextlib
import tempfile
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, TextIO

import msgspec
from aiohttp import BodyPartReader, web

from tests.media import make_clip

Json = dict[str, Any]
Step = Literal["create", "poll", "content", "cancel", "delete", "models"]


@dataclass(frozen=True)
class Plan:
    """What becomes of a job."""

    seconds: float = 0.0
    """How long it takes; "inf" is for ever."""
    error: Json | str | None = None
    """It fails with this."""
    status: str | None = None
    """What it says instead of its true status."""
    id: str | None = None
    moderated: bool = False
    usage: Json | None = None
    http: int = 200
    """The status that OpenAI's answers about it come with."""
    url: str | None = None
    """Where the answer says the video is; xAI's say so anyway."""


@dataclass(frozen=True)
class Trouble:
    """What goes wrong with one call, instead of or in the middle of its answer."""

    status: int = 200
    body: Json | None = None
    headers: dict[str, str] = field(default_factory=dict[str, str])
    drop: bool = False
    """Hang up without a byte."""
    cut: int | None = None
    """Of content: hang up after so many bytes."""
    wait: asyncio.Event | None = None
    """Begin when this is set."""


@dataclass
class Job:
    id: str
    plan: Plan
    xai: bool
    path: str
    fields: Json
    files: dict[str, tuple[str, bytes]]
    """By field: content type and bytes."""
    began: float
    ended: bool = False

    @property
    def done(self) -> bool:
        return time.monotonic() >= self.began + self.plan.seconds

    @property
    def progress(self) -> int:
        spent = (time.monotonic() - self.began) / self.plan.seconds if self.plan.seconds else 1.0
        return min(100, int(100 * spent))


class ScriptedVideos:
    """The server; start it with `async with`, or `start()` and `close()`. Its jobs outlive a close."""

    def __init__(
        self,
        models: Sequence[str] = ("m",),
        *,
        port: int = 0,
        seconds: float = 0.0,
        poll_after: int | None = None,
        stills: bytes | None = None,
        log: TextIO | None = None,
        takes_edits: bool = True,
        forms_need_files: bool = False,
        cancels: bool = True,
    ) -> None:
        self.models = list(models)
        self.jobs: list[Job] = []
        """Every job that was ever begun."""
        self.known: dict[str, Job] = {}
        self.calls: list[tuple[str, str]] = []
        """Method and path of every call, in the order of arrival."""
        self.headers: list[dict[str, str]] = []
        self.cancelled: list[str] = []
        self.deleted: list[str] = []
        self.video = b""
        self.stills = stills
        self.etag: str | None = '"film"'
        self._port = port
        self._default = Plan(seconds=seconds)
        self._poll_after = poll_after
        self._log = log
        self._takes_edits = takes_edits
        self._forms_need_files = forms_need_files
        self._cancels = cancels
        self._plans: deque[Plan] = deque()
        self._troubles: dict[Step, deque[Trouble]] = defaultdict(deque)
        self._happened = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def plan(self, *plans: Plan) -> None:
        """What becomes of the next jobs, one each, in this order."""
        self._plans.extend(plans)

    def trouble(self, step: Step, *troubles: Trouble) -> None:
        """What goes wrong with the next calls of a kind, one each, in this order."""
        self._troubles[step].extend(troubles)

    def forget(self) -> None:
        """Know of no job any more."""
        for job in self.known.values():
            self._note("forgotten", job)
        self.known.clear()

    def count(self, method: str, end: str) -> int:
        """How many calls there were with this method to paths that end so."""
        return sum(1 for called, path in self.calls if called == method and path.endswith(end))

    async def until(self, true: Callable[[], bool], timeout: float = 10) -> None:
        """Wait until something is so, looked at before and after each call."""
        async with asyncio.timeout(timeout), self._happened:
            await self._happened.wait_for(true)

    async def start(self) -> None:
        if not self.video:
            with tempfile.TemporaryDirectory() as folder:
                self.video = (await asyncio.to_thread(make_clip, Path(folder) / "clip.mp4")).read_bytes()
        app = web.Application(middlewares=[self._watched], client_max_size=1 << 30)
        app.add_routes(
            [
                web.get("/v1/models", self._models),
                web.post("/v1/videos", self._create),
                web.post("/v1/videos/generations", self._create),
                web.post("/v1/videos/edits", self._create),
                web.post("/v1/videos/extensions", self._create),
                web.get("/v1/videos/{id}", self._poll),
                web.delete("/v1/videos/{id}", self._delete),
                web.post("/v1/videos/{id}/cancel", self._cancel),
                web.get("/v1/videos/{id}/content", self._content),
                web.get("/files/{id}.mp4", self._content),
                web.post("/__forget", self._forget),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening and drop every connection; a later `start()` takes the same port again."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- its answers

    @web.middleware
    async def _watched(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.calls.append((request.method, request.path_qs.removeprefix("/v1")))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        await self._tell()
        try:
            return await handler(request)
        finally:
            await self._tell()

    async def _tell(self) -> None:
        async with self._happened:
            self._happened.notify_all()

    async def _troubled(self, step: Step, request: web.Request) -> web.Response | None:
        if not self._troubles[step] or self._troubles[step][0].cut is not None:
            return None
        trouble = self._troubles[step].popleft()
        if trouble.wait is not None:
            await trouble.wait.wait()
        if trouble.drop:
            _hang_up(request)
        if trouble.status == 200:
            return None
        return _json(trouble.body or {"error": {"message": "scripted"}}, trouble.status, trouble.headers)

    async def _models(self, request: web.Request) -> web.Response:
        listed = [{"id": model, "object": "model"} for model in self.models]
        return await self._troubled("models", request) or _json({"object": "list", "data": listed})

    async def _create(self, request: web.Request) -> web.Response:
        fields, files = await _received(request)
        path = request.path.removeprefix("/v1")
        form = request.content_type == "multipart/form-data"
        if path == "/videos/edits" and not self._takes_edits:
            return _json({"detail": "Method Not Allowed"}, 405)
        if form and self._forms_need_files and not files:
            return _json({"detail": "input_reference file is required"}, 400)
        if troubled := await self._troubled("create", request):
            return troubled
        xai = path == "/videos/generations" or (path != "/videos" and not form)
        plan = self._plans.popleft() if self._plans else self._default
        job_id = plan.id or (str(uuid.uuid4()) if xai else f"video_{uuid.uuid4().hex}")
        job = Job(job_id, plan, xai, path, fields, files, time.monotonic())
        self.jobs.append(job)
        self.known[job.id] = job
        self._note("begun", job, prompt=fields.get("prompt"))
        return _json({"request_id": job.id} if xai else self._openai(job))

    async def _poll(self, request: web.Request) -> web.Response:
        if troubled := await self._troubled("poll", request):
            return troubled
        if (job := self.known.get(request.match_info["id"])) is None:
            return _json({"error": {"message": "no such video", "type": "invalid_request_error"}}, 404)
        if job.done and not job.ended:
            job.ended = True
            self._note("ended", job)
        if job.xai:
            return _json(self._xai(job), 200 if job.done else 202)
        headers = {"openai-poll-after-ms": str(self._poll_after)} if self._poll_after and not job.done else {}
        return _json(self._openai(job), job.plan.http, headers)

    async def _content(self, request: web.Request) -> web.StreamResponse:
        if troubled := await self._troubled("content", request):
            return troubled
        job = self.known.get(request.match_info["id"])
        if job is None or not job.done:
            return _json({"detail": "Generation is still in-progress"}, 404)
        if (variant := request.query.get("variant", "video")) != "video" and self.stills is not None:
            return web.Response(body=self.stills, content_type="image/webp", headers={"x-variant": variant})
        return await self._film(request)

    async def _film(self, request: web.Request) -> web.StreamResponse:
        whole, start = self.video, 0
        ranged = request.headers.get("range", "")
        if ranged and self.etag and request.headers.get("if-range") == self.etag:
            start = int(ranged.removeprefix("bytes=").partition("-")[0])
        headers = {"etag": self.etag} if self.etag else {}
        if start:
            headers["content-range"] = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        response.content_type, response.content_length = "video/mp4", len(whole) - start
        await response.prepare(request)
        trouble = self._troubles["content"].popleft() if self._troubles["content"] else Trouble()
        if trouble.cut is not None:
            await response.write(whole[start : start + trouble.cut])
            await asyncio.sleep(0.02)  # let them arrive before the connection is reset
            _hang_up(request)
        await response.write(whole[start:])
        return response

    async def _cancel(self, request: web.Request) -> web.Response:
        if not self._cancels:
            return _json({"detail": "Not Found"}, 404)
        return await self._stopped("cancel", request, self.cancelled, "cancelled")

    async def _delete(self, request: web.Request) -> web.Response:
        return await self._stopped("delete", request, self.deleted, "deleted")

    async def _stopped(self, step: Step, request: web.Request, into: list[str], word: str) -> web.Response:
        if troubled := await self._troubled(step, request):
            return troubled
        if (job := self.known.get(request.match_info["id"])) is None:
            return _json({"error": {"message": "no such video"}}, 404)
        if step == "delete":
            del self.known[job.id]
        into.append(job.id)
        self._note(word, job)
        return _json({"id": job.id, "object": f"video.{word}", word: True})

    async def _forget(self, _: web.Request) -> web.Response:
        self.forget()
        return _json({})

    def _openai(self, job: Job) -> Json:
        status = "completed" if job.done else "in_progress" if job.progress else "queued"
        if job.done and job.plan.error is not None:
            status = "failed"
        return {
            "id": job.id,
            "object": "video",
            "model": job.fields.get("model", "m"),
            "status": job.plan.status or status,
            "progress": job.progress,
            "created_at": 1_700_000_000,
            "seconds": job.fields.get("seconds", "4"),
            "size": job.fields.get("size", "1280x720"),
            "error": job.plan.error if status == "failed" else None,
            "usage": job.plan.usage,
            "url": job.plan.url,
        }

    def _xai(self, job: Job) -> Json:
        if not job.done:
            return {"status": "pending", "progress": job.progress}
        if job.plan.error is not None:
            return {"status": "failed", "progress": 100, "error": job.plan.error}
        url = job.plan.url or f"http://127.0.0.1:{self._port}/files/{job.id}.mp4"
        video: Json = {"url": url, "duration": 1, "respect_moderation": True}
        if job.plan.moderated:
            video |= {"url": "", "respect_moderation": False}
        usage = {"usage": job.plan.usage} if job.plan.usage else {}
        return {"status": job.plan.status or "done", "progress": 100, "model": "grok-video", "video": video} | usage

    def _note(self, event: str, job: Job, **facts: object) -> None:
        if self._log is not None:
            line = {"event": event, "id": job.id, "at": time.monotonic(), **facts}
            print(msgspec.json.encode(line).decode(), file=self._log, flush=True)


async def _received(request: web.Request) -> tuple[Json, dict[str, tuple[str, bytes]]]:
    if request.content_type != "multipart/form-data":
        return await request.json(), {}
    fields: Json = {}
    files: dict[str, tuple[str, bytes]] = {}
    async for part in await request.multipart():
        assert isinstance(part, BodyPartReader)
        assert part.name is not None
        data = bytes(await part.read())
        if part.filename is None:
            fields[part.name] = data.decode()
        else:
            files[part.name] = (part.headers["content-type"], data)
    return fields, files


def _json(body: Json, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body), status=status, headers=headers or {}, content_type="application/json"
    )


def _hang_up(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()
    raise asyncio.CancelledError


async def _serve(options: argparse.Namespace, log: TextIO | None) -> None:
    server = ScriptedVideos(
        options.models,
        port=options.port,
        seconds=options.seconds,
        poll_after=options.poll_after,
        log=log,
    )
    async with server:
        print(f"listening on {server.base_url}", flush=True)
        await asyncio.Event().wait()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.scripted_videos", description="A scripted video server.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--models", nargs="+", default=["m"])
    parser.add_argument("--seconds", type=float, default=0.0, help="how long a job takes")
    parser.add_argument("--poll-after", type=int, default=100, help="milliseconds it asks to be left alone for")
    parser.add_argument("--json-log", type=Path, help="append a JSON line to this file for what becomes of jobs")
    options = parser.parse_args(arguments)
    log = options.json_log.open("a") if options.json_log else None
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(options, log))


if __name__ == "__main__":
    main()
