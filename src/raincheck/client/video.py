"""A video as the server shows it: openai's `Video`, and what the native dialect tells beyond it."""

from openai import BaseModel
from openai.types import Video as OpenAIVideo

from raincheck.client.models import RequestError, WaitingFor


class VideoFile(BaseModel):
    """A finished file. `url` can be followed without a key, by a `<video>` tag too, until it expires."""

    url: str
    content_type: str | None = None
    duration: float | None = None
    """Seconds."""
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    thumbnail_url: str | None = None
    spritesheet_url: str | None = None


class Video(OpenAIVideo):
    """A video that was asked for. `status` is `pending`, `processing`, `completed`, `failed`, `cancelled` or `expired`;
    of one that was made in OpenAI's dialect (`create`), the words are OpenAI's."""

    status: str  # pyright: ignore[reportIncompatibleVariableOverride]
    progress: int = 0
    """Of 100."""
    error: RequestError | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    """Why it failed."""
    data: list[VideoFile] = []  # noqa: RUF012 - pydantic makes a copy for each
    """The file, once it is completed."""
    request_id: str | None = None
    seed: int | None = None
    """The one that was chosen, where nobody named one and the upstream tells."""
    created: int | None = None
    position: int | None = None
    """Place in the queue while it is pending; 1 is next."""
    eta_seconds: float | None = None
    waiting_for: WaitingFor | None = None
    progress_message: str | None = None

    @property
    def url(self) -> str | None:
        """Where the file is, once there is one."""
        return self.data[0].url if self.data else None
