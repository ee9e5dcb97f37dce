"""Ids: a prefix that tells the kind, and a UUIDv7 so that ids sort by time."""

import re

from uuid_utils import uuid7

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def new_id(prefix: str) -> str:
    """A fresh id such as `req_0199a3c2f4b87d3e9a51c0de5f00ba47`; unique without asking anyone."""
    return f"{prefix}_{uuid7().hex}"


def new_uuid() -> str:
    """A fresh id without a word in front, as xAI's are."""
    return str(uuid7())


def is_uuid(text: str) -> bool:
    """Whether it is such an id."""
    return _UUID.fullmatch(text) is not None


def new_file_id() -> str:
    """A fresh id of a file, spelled as OpenAI's are: clients tell them by `file-`."""
    return f"file-{uuid7().hex}"
