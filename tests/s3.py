"""A local server that speaks S3, and the environment in which it is found."""

import http.client
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from unittest.mock import patch

from moto.server import ThreadedMotoServer

from raincheck.core.ids import new_id


@dataclass(frozen=True, slots=True)
class S3:
    """A bucket that nobody else uses."""

    port: int
    bucket: str

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}"

    def names(self) -> list[str]:
        """The names of all objects in the bucket."""
        listing = self.call("GET", f"/{self.bucket}?list-type=2").decode()
        return sorted(part.partition("</Key>")[0] for part in listing.split("<Key>")[1:])

    def call(self, method: str, path: str) -> bytes:
        """An unsigned call; the answer's body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            body = response.read()
            assert response.status in (200, 204), body
            return body
        finally:
            connection.close()


@contextmanager
def s3_bucket(port: int | None = None) -> Generator[S3]:
    """An empty bucket, at the server on this port or at one that all tests share, with the AWS_ variables that lead
    there."""
    s3 = S3(port or _shared_port(), new_id("b").replace("_", "-"))
    s3.call("PUT", f"/{s3.bucket}")
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3.port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }
    others = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with patch.dict(os.environ, others | variables, clear=True):
        yield s3


@contextmanager
def s3_server(port: int = 0) -> Generator[int]:
    """A server of one's own, to be taken down, on a free port unless told which; gives its port. All servers of one
    process hold the same buckets, and keep them when they stop."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        yield server.get_host_and_port()[1]
    finally:
        server.stop()


@cache
def _shared_port() -> int:
    # Its thread ends with the process: stopping it takes half a second.
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    return server.get_host_and_port()[1]
