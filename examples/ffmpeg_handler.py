"""A job for ffmpeg as a model that edits videos: whatever is uploaded comes back in black and white.

It is the second upstream of report.toml. With the server running, and a clip at hand:

    curl localhost:8421/v1/videos/edits -F model=silver-screen -F prompt="Black and white" -F video=@clip.mp4

The path it returns becomes the video, with its facts measured and a thumbnail drawn.
"""

import shutil
import subprocess
from collections import deque
from collections.abc import Generator
from pathlib import Path
from typing import Any

from raincheck.upstream.python import Job

Progress = float | tuple[float, str] | None


def silver_screen(payload: dict[str, Any], job: Job) -> Generator[Progress, None, Path]:  # noqa: ARG001 - see job.input
    """Each line that ffmpeg says is a step, and so a place to stop at: a cancel ends the child, too."""
    clip, film = job.input("video"), job.folder / "silver-screen.mp4"
    # It was sent by somebody: it must not make ffmpeg open anything but itself.
    command = [program(), "-nostdin", "-protocol_whitelist", "file,pipe", "-i", clip, "-vf", "hue=s=0,vignette"]
    command += ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-progress", "pipe:1", film]
    length, said = 0.0, deque[str](maxlen=5)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as ffmpeg:
        try:
            for line in ffmpeg.stdout or ():
                said.append(line)
                if line.lstrip().startswith("Duration:"):
                    length = seconds(line.split()[1].rstrip(","))
                if line.startswith("out_time=") and length and "N/A" not in line:
                    yield seconds(line.strip().removeprefix("out_time=")) / length, "developing"
                else:
                    yield None
        except BaseException:
            ffmpeg.kill()
            raise
    if ffmpeg.returncode:
        raise RuntimeError(f"ffmpeg ended with {ffmpeg.returncode}: {' '.join(said)}")
    return film


def seconds(clock: str) -> float:
    """What ffmpeg writes as 00:01:02.50."""
    hours, minutes, rest = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def program() -> str:
    """The ffmpeg of this machine, or the one that comes with the extra `preview`."""
    if (found := shutil.which("ffmpeg")) is not None:
        return found
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()
