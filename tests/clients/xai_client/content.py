"""Images and files in messages."""

from typing import Any

import grpc
from xai_sdk.chat import file, image, text, user

from tests.clients.checks import Given, differs
from tests.clients.xai_client import CHECKS
from tests.clients.xai_client.asking import refused

PIXEL = "data:image/png;base64,iVBORw0KGgo="


def seen(given: Given, content: Any) -> str:
    """What the model saw beside a text."""
    chat = given.client.chat.create(model="m", messages=[user("What is it?", content)])
    return chat.sample().content.removeprefix("Saw 'What is it?', ")


@CHECKS("chat.image")
def an_image_goes_along(given: Given) -> None:
    assert seen(given, image(PIXEL)) == "image data:image/png;base64"


@CHECKS("chat.file (file_id) of a text")
def a_text_goes_along(given: Given) -> None:
    uploaded = given.client.files.upload(b"Once upon a time", filename="tale.txt")
    said = seen(given, file(uploaded.id))
    assert "tale.txt" in said, said
    assert "Once upon a time" in said, said


@CHECKS("chat.file (file_id) of an image")
def an_uploaded_image_goes_along(given: Given) -> None:
    uploaded = given.client.files.upload(b"\x89PNG\r\n\x1a\n" + bytes(20), filename="dot.png")
    assert seen(given, file(uploaded.id)) == "image data:image/png;base64"


@CHECKS("chat.file (data)")
def bytes_go_along(given: Given) -> None:
    pdf = file(data=b"%PDF-1.7\xff", filename="paper.pdf", mime_type="application/pdf")
    assert seen(given, pdf) == "file paper.pdf"


@CHECKS("chat.file (url)")
def nothing_is_fetched(given: Given) -> str:
    there = file(url="https://example.com/paper.pdf")
    refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: seen(given, there))
    return differs("INVALID_ARGUMENT: files of a chat are not fetched; upload them, or send them as `data`")


@CHECKS("chat.file of nobody's")
def an_unknown_file(given: Given) -> None:
    refused(grpc.StatusCode.NOT_FOUND, lambda: seen(given, file("file-nope")))


@CHECKS("chat.text")
def a_text_part_goes_along(given: Given) -> None:
    assert seen(given, text("A second part")) == "'A second part'"
