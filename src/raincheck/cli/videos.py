"""`raincheck videos …` and `raincheck download`: ask for videos, and fetch the files that requests have made."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raincheck.cli.exits import Code, Problem
from raincheck.cli.options import (
    AsJson,
    BaseUrl,
    IdempotencyKey,
    IncludeResult,
    OneId,
    Tier,
    Timeout,
    WebhookEvents,
    WebhookUrl,
    said,
    webhook_options,
)
from raincheck.cli.show import is_terminal, say
from raincheck.cli.talk import connect
from raincheck.cli.wait import seconds_of

if TYPE_CHECKING:
    from raincheck.client import Raincheck, Video

app = typer.Typer(no_args_is_help=True, help="Make, edit and extend videos; fetch the files.")

Prompt = Annotated[str, typer.Argument(metavar="PROMPT", help="What the video shall show.", show_default=False)]
Given = Annotated[
    str,
    typer.Argument(
        metavar="VIDEO", help="A video's id, a file, a URL, or the id of an uploaded file.", show_default=False
    ),
]
Model = Annotated[str | None, typer.Option("--model", "-m", help="Who makes it. [default: the server's first]")]
Seconds = Annotated[float | None, typer.Option("--seconds", "-s", min=0.1, help="How long it plays.")]
Seed = Annotated[int | None, typer.Option(help="The same seed and prompt give the same video, where a model can.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Wait and save it there; a folder will do."),
]
Wait = Annotated[bool, typer.Option("--wait", "-w", help="Wait and print where the file is.")]
Size = Annotated[str | None, typer.Option(metavar="WxH", help="Width and height in pixels, as in 1280x720.")]


@app.command()
def generate(
    prompt: Prompt,
    *,
    model: Model = None,
    seconds: Seconds = None,
    size: Size = None,
    aspect_ratio: Annotated[str | None, typer.Option(help="16:9, 9:16, 1:1, 4:3, 3:4, 3:2 or 2:3.")] = None,
    resolution: Annotated[str | None, typer.Option(help="480p, 720p or 1080p.")] = None,
    seed: Seed = None,
    image: Annotated[str | None, typer.Option(metavar="IMAGE", help="The first frame: a file or a URL.")] = None,
    output: Output = None,
    wait: Wait = False,
    timeout: Timeout = "10m",
    tier: Tier = None,
    webhook_url: WebhookUrl = None,
    webhook_events: WebhookEvents = None,
    include_result: IncludeResult = False,
    idempotency_key: IdempotencyKey = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make a video from words. Prints its id; with -o it is saved when it is there.

    \b
    raincheck videos generate "A rocket launching into space" -o rocket.mp4
    raincheck videos generate "Storm, then sunrise over the sea" --seconds 8 --aspect-ratio 9:16 --wait
    """
    order = said(
        prompt=prompt,
        model=model,
        seconds=seconds,
        size=size,
        aspect_ratio=aspect_ratio,
        resolution=resolution,
        seed=seed,
        image=image,
        service_tier=tier,
        **webhook_options(webhook_url, webhook_events, include_result),
        idempotency_key=idempotency_key,
    )
    client = connect(base_url)
    _finish(client, lambda: client.videos.generate(**order), output, wait=wait, timeout=timeout, as_json=as_json)


@app.command()
def edit(
    video: Given,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What shall be changed.", show_default=False)],
    *,
    model: Model = None,
    output: Output = None,
    wait: Wait = False,
    timeout: Timeout = "10m",
    tier: Tier = None,
    webhook_url: WebhookUrl = None,
    webhook_events: WebhookEvents = None,
    include_result: IncludeResult = False,
    idempotency_key: IdempotencyKey = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Change a video by an instruction. Prints the id of the new one.

    \b
    raincheck videos edit rocket.mp4 "slow motion and black and white" -o slow.mp4
    raincheck videos edit video_gen_0199… "reverse" --wait
    """
    order = said(
        prompt=prompt,
        video=video,
        model=model,
        service_tier=tier,
        **webhook_options(webhook_url, webhook_events, include_result),
        idempotency_key=idempotency_key,
    )
    client = connect(base_url)
    _finish(client, lambda: client.videos.edit(**order), output, wait=wait, timeout=timeout, as_json=as_json)


@app.command()
def extend(
    video: Given,
    prompt: Annotated[str | None, typer.Argument(metavar="[PROMPT]", help="How it goes on.")] = None,
    *,
    model: Model = None,
    seconds: Seconds = None,
    seed: Seed = None,
    output: Output = None,
    wait: Wait = False,
    timeout: Timeout = "10m",
    tier: Tier = None,
    webhook_url: WebhookUrl = None,
    webhook_events: WebhookEvents = None,
    include_result: IncludeResult = False,
    idempotency_key: IdempotencyKey = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Go on where a video ends. Prints the id of the new one, which holds all of it.

    \b
    raincheck videos extend rocket.mp4 "Stars drift by" --seconds 3 -o longer.mp4
    """
    order = said(
        prompt=prompt,
        video=video,
        model=model,
        seconds=seconds,
        seed=seed,
        service_tier=tier,
        **webhook_options(webhook_url, webhook_events, include_result),
        idempotency_key=idempotency_key,
    )
    client = connect(base_url)
    _finish(client, lambda: client.videos.extend(**order), output, wait=wait, timeout=timeout, as_json=as_json)


def download(
    request_id: OneId,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Which files. [default: all]")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PATH", help="A folder; for one file also its new name.")
    ] = Path(),
    base_url: BaseUrl = None,
) -> None:
    """Fetch the files that a request has made, videos among them. Prints where they are.

    \b
    raincheck download video_gen_0199… -o clip.mp4 video.mp4
    raincheck download req_0199… -o results/
    """
    client = connect(base_url)
    wanted = names or [attachment.name for attachment in client.requests.retrieve(request_id).attachments or ()]
    if not wanted:
        raise Problem(f"{request_id} has no files: it made none, or has not completed", Code.FAILED)
    if len(wanted) > 1 and not output.is_dir():
        raise typer.BadParameter(f"must be a folder that is there, for {len(wanted)} files", param_hint="--output")
    if output.is_dir() and (there := [name for name in wanted if (output / name).exists()]):
        raise Problem(
            f"{output / there[0]} is there already: give another folder, or --output with a name", Code.FAILED
        )
    for name in wanted:
        say(_saved(output, lambda name=name: client.requests.download(request_id, name, output, progress=True)))


def _finish(
    client: "Raincheck",
    submit: "Callable[[], Video]",
    output: Path | None,
    *,
    wait: bool,
    timeout: str,
    as_json: bool,
) -> None:
    patience = seconds_of(timeout, "--timeout")
    if output is not None and not output.is_dir() and not output.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {output.parent}", param_hint="--output")
    try:
        video = submit()
    except (ValueError, OSError) as error:  # of an input that is none
        raise Problem(str(error), Code.USAGE, "usage") from None
    if wait or output is not None:
        if not as_json and not is_terminal():  # Else it stands above the bar.
            say(video.id, err=True)
        try:
            video = client.videos.wait(video, timeout=patience, progress=is_terminal())
        except KeyboardInterrupt:
            say(f"\nstopped waiting; the work goes on: raincheck download {video.id}", err=True)
            raise
    saved = None if output is None else _saved(output, lambda: client.videos.download(video, output, progress=True))
    if as_json:
        say(json.dumps(video.to_dict(mode="json") | ({} if saved is None else {"saved": str(saved)})))
    else:
        say(saved or (video.url if wait else None) or video.id)


def _saved(output: Path, fetch: Callable[[], Path]) -> Path:
    try:
        return fetch()
    except OSError as error:
        raise Problem(f"cannot write to {output}: {error.strerror or error}", Code.FAILED) from None
