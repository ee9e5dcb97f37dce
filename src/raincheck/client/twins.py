"""Every docstring is written once, on the blocking class; its async twin gets a copy."""

import inspect


def share_docs(source: type, twin: type) -> None:
    twin.__doc__ = twin.__doc__ or source.__doc__
    for name, method in inspect.getmembers(twin, inspect.isfunction):
        if method.__doc__ is None and name in vars(source):
            method.__doc__ = inspect.getdoc(getattr(source, name))
