"""`raincheck webhooks verify`: a delivery that was kept, and what is wrong with it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from standardwebhooks import Webhook

from raincheck.core.clock import SECOND, now
from tests.cli.desk import Ended, run, run_at
from tests.receivers import Receiver
from tests.server import running_server

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = json.dumps({"id": "evt_1", "type": "video.completed", "created_at": 1767225600, "data": {"id": "video_1"}})


def kept(age: float = 0, body: str = BODY) -> list[str]:
    """The headers of a delivery that was made so many seconds ago, as options."""
    at = datetime.fromtimestamp(now() // SECOND, UTC) - timedelta(seconds=age)
    signature = Webhook(SECRET).sign("evt_1", at, body)
    headers = {"webhook-id": "evt_1", "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}
    return [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]


def verified(*options: str, secret: str = SECRET, body: str = BODY) -> Ended:
    return run("webhooks", "verify", *options, stdin=body, RAINCHECK_WEBHOOK_SECRET=secret)


def test_what_is_genuine_is_told_in_a_line_and_shown_with_json():
    ended = verified(*kept())
    assert (ended.code, ended.stdout.startswith("genuine: video.completed of video_1, evt_1, ")) == (0, True)
    assert verified(*kept(), "--json").json == json.loads(BODY)


def test_each_thing_that_can_be_wrong_has_its_own_code():
    cases = {
        "too_old": verified(*kept(3600), "--json"),
        "too_new": verified(*kept(-3600), "--json"),
        "missing_header": verified(*kept()[2:], "--json"),
        "wrong_signature": verified(*kept(), "--json", body=BODY + " "),
        "bad_secret": verified(*kept(), "--json", secret="nonsense"),
    }
    told = {code: (ended.code, json.loads(ended.stderr)["error"]["code"]) for code, ended in cases.items()}
    assert told == {code: (1, code) for code in cases}


def test_an_old_one_is_checked_for_the_rest_and_any_of_several_secrets_will_do():
    assert verified(*kept(90_000), "--any-age", secret=f"whsec_AAAA,{SECRET}").code == 0


def test_headers_come_from_a_file_of_lines_or_of_json(tmp_path: Path):
    pairs = [word for word in kept() if word != "-H"]
    lines, members = tmp_path / "headers.txt", tmp_path / "headers.json"
    lines.write_text("\r\n".join(["POST /hook HTTP/1.1", *pairs, ""]))
    members.write_text(json.dumps(dict(pair.split(": ", 1) for pair in pairs)))
    body = tmp_path / "body"
    body.write_text(BODY)
    for file in (lines, members):
        ended = run("webhooks", "verify", str(body), "--headers", str(file), RAINCHECK_WEBHOOK_SECRET=SECRET)
        assert ended.code == 0
    missing = verified("--headers", str(tmp_path / "none"))
    assert (missing.code, "cannot be read" in missing.stderr) == (2, True)


async def test_without_a_secret_it_is_the_servers_for_webhook_urls(tmp_path: Path):
    async with Receiver() as receiver, running_server(tmp_path, webhook_hosts=("127.0.0.1",)) as server:
        await run_at(server, "submit", "Hello?", "--webhook-url", receiver.at())
        [came] = await receiver.wait(1)
        body, headers = tmp_path / "body", tmp_path / "headers"
        body.write_bytes(came.body)
        headers.write_text(json.dumps(came.headers))
        ended = await run_at(server, "webhooks", "verify", str(body), "--headers", str(headers))
        assert (ended.code, came.data["id"] in ended.stdout) == (0, True)
        body.write_bytes(came.body + b" ")
        changed = await run_at(server, "webhooks", "verify", str(body), "--headers", str(headers), "--json")
        assert json.loads(changed.stderr)["error"]["code"] == "tampered_body"
