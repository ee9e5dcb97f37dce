"""From the settings of one upstream to the upstream."""

from collections.abc import Callable
from typing import assert_never

from raincheck.core.errors import SettingsInvalid
from raincheck.core.settings import UpstreamSettings
from raincheck.upstream.catalogue import is_pattern
from raincheck.upstream.elsewhere import Elsewhere
from raincheck.upstream.media.limits import MediaLimits
from raincheck.upstream.protocol import Takes, Upstream


def build(
    settings: UpstreamSettings,
    *,
    limits: MediaLimits | None = None,
    on_pull: Callable[[int, int], None] | None = None,
) -> Upstream:
    """The upstream that these settings describe, not started yet. Raises SettingsInvalid.

    `limits` bound what is fetched from links. `on_pull` is told how far the pull of the embedded model's weights is:
    bytes so far, and in all.
    """
    match settings.kind:
        case "openai":
            from raincheck.upstream.openai import OpenAIUpstream

            return OpenAIUpstream(
                settings.name,
                _base_url(settings),
                api_key=settings.api_key,
                stream=settings.stream,
                silence_timeout=settings.silence_timeout,
            )
        case "videos" | "xai":
            from raincheck.upstream.videos import VideosUpstream
            from raincheck.upstream.xai import XaiUpstream

            server = VideosUpstream if settings.kind == "videos" else XaiUpstream
            return server(
                settings.name,
                _base_url(settings),
                api_key=settings.api_key,
                silence_timeout=settings.silence_timeout,
                limits=limits or MediaLimits(),
            )
        case "preview":
            from raincheck.upstream.preview import PreviewUpstream

            return PreviewUpstream(settings.name)
        case "python":
            from raincheck.upstream.python import PythonUpstream

            if settings.handler is None:
                raise SettingsInvalid(f"The upstream {settings.name!r} is of kind python and needs a handler.")
            return PythonUpstream(
                name=settings.name,
                handler=settings.handler,
                models=settings.models,
                max_concurrency=_places(settings),
            )
        case "local":
            from raincheck.upstream.local.upstream import LocalUpstream

            return LocalUpstream(
                name=settings.name,
                model_path=settings.model_path,
                max_concurrency=_places(settings),
                silence_timeout=settings.silence_timeout,
                on_fetch=on_pull,
            )
        case _:
            assert_never(settings.kind)


def runs_in_worker(settings: UpstreamSettings) -> bool:
    """Whether the work is done inside a worker, and not by a server that any process may call."""
    return settings.kind in ("python", "local", "preview")


def build_elsewhere(settings: UpstreamSettings) -> Elsewhere:
    """What stands for an upstream that runs in a worker, in a process that is none."""
    if settings.kind == "local":
        from raincheck.upstream.local.upstream import LocalUpstream

        return Elsewhere(settings.name, frozenset({LocalUpstream(model_path=settings.model_path).model}), Takes.CALLS)
    if settings.kind == "preview":
        return Elsewhere(settings.name, frozenset({"preview"}), Takes.VIDEOS)
    named = frozenset(model for model in settings.models if not is_pattern(model))
    return Elsewhere(settings.name, named, Takes.CALLS | Takes.VIDEOS)


def _base_url(settings: UpstreamSettings) -> str:
    if settings.base_url is None:
        raise SettingsInvalid(f"The upstream {settings.name!r} is of kind {settings.kind} and needs a base_url.")
    return settings.base_url


def _places(settings: UpstreamSettings) -> int:
    if settings.max_concurrency == "auto":
        raise SettingsInvalid(
            f"The upstream {settings.name!r} is of kind {settings.kind} and runs in this process: say how many calls "
            'it may have at once; max_concurrency = "auto" is for servers.'
        )
    return settings.max_concurrency
