"""Webhooks to one receiver that answers at once, per second; against posting to it without anything to keep."""

import json
import time
from itertools import count

import httpx2

from bench import processes
from bench.calls import MESSAGES, MODEL
from bench.setting import Kind, Setting
from bench.stats import Row, Samples, alternate, ratio

CONCURRENCY = 8
"""What one receiver is sent at once unless told otherwise."""
JSON = {"content-type": "application/json"}
_numbers = count(1_000_000)


def sqlite(setting: Setting) -> list[Row]:
    return _rows(setting, "sqlite")


def postgres(setting: Setting) -> list[Row]:
    return _rows(setting, "postgres")


def _rows(setting: Setting, kind: Kind) -> list[Row]:
    """Everything that was delivered once is sent again by hand, so that nothing but delivering is measured."""
    folder, store = setting.folder, setting.store(kind, "webhooks")
    number = 2_000 if setting.options.quick else 10_000
    with (
        processes.upstream(folder) as upstream,
        processes.upstream(folder) as receiver,
        processes.server(folder, upstream, store, environment={"RAINCHECK_WEBHOOKS_ALLOW": "127.0.0.1"}) as server,
        processes.load(folder) as load,
    ):
        _submit(server, receiver, number)
        processes.wait_for(lambda: receiver.calls() >= number, within=300)

        def direct(seconds: float) -> float:
            job = {"base_url": receiver.base_url, "concurrency": CONCURRENCY, "seconds": seconds}
            return load.run("aiohttp-direct", **job)["per_second"]

        def again(_: float) -> float:
            receiver.forget()
            server.ask("POST", "/v1/webhook_deliveries/redeliver", b'{"since": 0, "delivered_too": true}')
            processes.wait_for(lambda: receiver.calls() >= number, within=300)
            return number / receiver.seconds_taken()

        baseline, ours = alternate(setting.options.rounds, setting.options.seconds, direct, again)
        delays = [_delay(server, receiver) for _ in range(50)]
    return [
        Row(
            what=f"webhooks delivered, {kind}",
            unit="/s",
            against="aiohttp posts",
            baseline=baseline,
            ours=ours,
            value=ratio(ours, baseline),
            goal=0.2,
        ),
        Row(
            what=f"submitted to webhook arrived, idle, {kind}",
            unit="ms",
            against="-",
            baseline=Samples((0.0,)),
            ours=Samples(tuple(delays)),
            value=Samples(tuple(delays)).median,
            value_unit="ms",
            better="less",
        ),
    ]


def _body(receiver: processes.Upstream, number: int) -> bytes:
    hook = {"webhook_url": f"{receiver.base_url}/hook/{number}"}
    return json.dumps({"model": MODEL, "messages": MESSAGES, "deferred": True, "raincheck": hook}).encode()


def _submit(server: processes.Site, receiver: processes.Upstream, number: int) -> None:
    with httpx2.Client(timeout=30) as client:
        for each in range(number):
            body = _body(receiver, each)
            client.post(f"{server.base_url}/chat/completions", content=body, headers=JSON).raise_for_status()


def _delay(server: processes.Site, receiver: processes.Upstream) -> float:
    """Milliseconds from before the submit to the call at the receiver."""
    receiver.forget()
    begun = time.monotonic()
    server.ask("POST", "/v1/chat/completions", _body(receiver, next(_numbers)))
    return 1_000 * (receiver.first_call_since_forgotten() - begun)
