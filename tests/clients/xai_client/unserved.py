"""Services of xAI's that are not served here: each says so, and what is."""

from xai_sdk.chat import user

from tests.clients.checks import Given, differs
from tests.clients.xai_client import CHECKS
from tests.clients.xai_client.asking import unserved


@CHECKS("tokenize.tokenize_text")
def texts_are_not_tokenized(given: Given) -> str:
    unserved(lambda: given.client.tokenize.tokenize_text("Hi", model="m"))
    return differs("UNIMPLEMENTED: upstreams have no common call for it")


@CHECKS("image.sample")
def images_are_not_made(given: Given) -> str:
    unserved(lambda: given.client.image.sample("A cat", model="m"))
    return differs("UNIMPLEMENTED: only videos are made over gRPC; `POST /v1/images/generations` passes on")


@CHECKS("collections.…")
def there_are_no_collections(given: Given) -> str:
    unserved(given.client.collections.list)
    unserved(lambda: given.client.collections.search("words", ["collection"]))
    return differs("UNIMPLEMENTED: there are no collections")


@CHECKS("chat.compact_context", needs="chat.compact_context")
def nothing_is_compacted(given: Given) -> str:
    unserved(lambda: given.client.chat.compact_context(model="m", messages=[user("Hi")]))
    return differs("UNIMPLEMENTED: no upstream can continue from what it would return")
