"""What PostgreSQL's text can hold."""


def holds(*texts: str | None) -> bool:
    """Whether PostgreSQL's text can hold all of these: it has no NUL, and no half of a surrogate pair."""
    together = "".join([text for text in texts if text is not None])
    if "\0" in together:
        return False
    if together.isascii():
        return True
    try:
        together.encode()
    except UnicodeEncodeError:
        return False
    return True


def clean(text: str) -> str:
    """What an upstream said, as PostgreSQL's text can hold it: without NUL and halves of characters."""
    return text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
