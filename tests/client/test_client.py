"""The clients as openai clients: where they point, what they send, and that nothing of openai's is lost."""

import subprocess
import sys
from collections.abc import Callable

import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

import raincheck
from raincheck import AsyncRaincheck, Raincheck
from tests.client.servers import Answer, Asked, FakeRaincheck, ScriptedServer, a_completion

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAINCHECK_BASE_URL", "RAINCHECK_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        (None, "http://127.0.0.1:8421/v1/"),
        ("http://host:1", "http://host:1/v1/"),
        ("http://host:1/", "http://host:1/v1/"),
        ("http://host:1/v1", "http://host:1/v1/"),
        ("https://api.x.ai/v1/", "https://api.x.ai/v1/"),
        ("http://host/proxy/raincheck", "http://host/proxy/raincheck/"),
    ],
)
def test_a_base_url_without_a_path_gets_v1(given: str | None, used: str) -> None:
    assert str(Raincheck(base_url=given).base_url) == used
    assert str(AsyncRaincheck(base_url=given).base_url) == used


def test_the_environment_fills_in_what_was_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAINCHECK_BASE_URL", "http://elsewhere:9")
    monkeypatch.setenv("RAINCHECK_API_KEY", "rc_env")

    assert str(Raincheck().base_url) == "http://elsewhere:9/v1/"
    assert Raincheck().api_key == "rc_env"
    assert Raincheck(api_key="rc_arg", base_url="http://here").api_key == "rc_arg"


@pytest.mark.parametrize("make", [Raincheck, AsyncRaincheck])
def test_a_key_loses_the_end_of_its_line_and_is_refused_when_no_header_can_carry_it(
    make: Callable[..., OpenAI], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert make(api_key="rc_file\n").api_key == "rc_file"
    with pytest.raises(ValueError, match=r"^api_key must be"):
        make(api_key="bad\nkey")
    monkeypatch.setenv("RAINCHECK_API_KEY", "rc_é")
    with pytest.raises(ValueError, match=r"^RAINCHECK_API_KEY must be"):
        make()


def test_openais_own_key_and_url_are_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://api.openai.com/v1")

    assert "secret" not in Raincheck().api_key
    assert Raincheck().base_url.host == "127.0.0.1"


def test_a_copy_with_options_is_a_raincheck_too() -> None:
    client = Raincheck(base_url="http://host:1", api_key="rc_1").with_options(timeout=3, max_retries=0)

    assert isinstance(client, Raincheck)
    assert (str(client.base_url), client.api_key, client.timeout) == ("http://host:1/v1/", "rc_1", 3)
    assert client.chat.completions.defer


def test_an_ordinary_call_is_what_it_was() -> None:
    with (
        ScriptedServer(lambda _: Answer(200, a_completion())) as server,
        Raincheck(base_url=server.url) as ours,
        OpenAI(base_url=f"{server.url}/v1", api_key="no-key") as theirs,
    ):
        completions = [client.chat.completions.create(model="tiny", messages=MESSAGES) for client in (ours, theirs)]
        raw = ours.chat.completions.with_raw_response.create(model="tiny", messages=MESSAGES)

    assert all(isinstance(completion, ChatCompletion) for completion in completions)
    assert raw.parse().id == "chatcmpl-1"
    first, second, _ = server.asked
    assert first.body == second.body == {"model": "tiny", "messages": MESSAGES}
    assert first.headers.keys() == second.headers.keys()


def test_streaming_is_what_it_was() -> None:
    def answer(_: Asked) -> Answer:
        chunk = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
        return Answer(200, stream=[chunk, chunk, b"data: [DONE]\n\n"])

    with ScriptedServer(answer) as server, Raincheck(base_url=server.url) as client:
        chunks = list(client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True))

    assert [chunk.choices[0].delta.content for chunk in chunks] == ["hi", "hi"]


def test_the_plain_openai_client_gets_along_with_what_our_fake_says() -> None:
    """The fake server of these tests must not be kinder than the protocol."""
    fake = FakeRaincheck()
    with ScriptedServer(fake) as server, OpenAI(base_url=f"{server.url}/v1", api_key="no-key") as client:
        submitted = client.chat.completions.create(model="tiny", messages=MESSAGES, extra_body={"deferred": True})

    assert submitted.id == "req_1"


def test_importing_raincheck_does_not_import_openai() -> None:
    """A server process imports `raincheck.…` all day and has no use for the client's weight."""
    check = "import sys, raincheck; assert 'openai' not in sys.modules; print(raincheck.__version__)"

    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == raincheck.__version__


def test_the_package_offers_what_it_says() -> None:
    for name in raincheck.__all__:
        assert getattr(raincheck, name) is not None
    missing = "Rainchekc"
    with pytest.raises(AttributeError, match="no attribute 'Rainchekc'"):
        getattr(raincheck, missing)
