"""Takes the OpenAPI document, hands on one page of HTML without scripts, so that it works offline."""

import json
from html import escape
from typing import Any

from litestar import Request
from litestar.openapi.plugins import OpenAPIRenderPlugin

METHODS = ("get", "post", "delete")
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}
h2{margin:2.5rem 0 .3rem;font-size:1.1rem}h3{margin:1rem 0 .3rem;font-size:.95rem}p{margin:.3rem 0}
code,pre{font:14px/1.4 ui-monospace,monospace}pre{overflow:auto;padding:.7rem;border:1px solid #8886;border-radius:6px}
b.m{display:inline-block;min-width:4.5rem}td,th{text-align:left;padding:.15rem 1rem .15rem 0;vertical-align:top}
summary{cursor:pointer}
"""


class DocsPage(OpenAPIRenderPlugin):
    """The page at /schema."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002
        return page(openapi_schema).encode()


def page(document: dict[str, Any]) -> str:
    """The whole page."""
    info = document["info"]
    operations = [
        _operation(path, method, item[method])
        for path, item in sorted(document["paths"].items())
        for method in METHODS
        if method in item
    ]
    title = f"{info['title']} {info['version']}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
        f"<h1>{escape(title)}</h1><p>{escape(info['description'])}</p>"
        f'<p>For machines: <a href="/schema/openapi.json">openapi.json</a></p>{"".join(operations)}</html>'
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    parts = [
        f'<h2><b class="m">{method.upper()}</b><code>{escape(path)}</code></h2>',
        f"<p><strong>{escape(operation['summary'])}.</strong> {escape(operation.get('description', ''))}</p>",
        _parameters(operation.get("parameters", [])),
    ]
    if "requestBody" in operation:
        parts.append(f"<h3>Body</h3>{_example(operation['requestBody'])}")
    for status, response in operation["responses"].items():
        parts.append(
            f"<details><summary><code>{status}</code> {escape(response['description'])}</summary>"
            f"{_example(response)}</details>"
        )
    return "".join(parts)


def _parameters(parameters: list[dict[str, Any]]) -> str:
    rows = [
        f"<tr><td><code>{escape(one['name'])}</code><td>{escape(one['in'])}<td>{escape(one.get('description', ''))}"
        for one in parameters
    ]
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _example(part: dict[str, Any]) -> str:
    shown = [
        example["value"]
        for content in part.get("content", {}).values()
        for example in content.get("examples", {}).values()
    ]
    texts = [one if isinstance(one, str) else json.dumps(one, indent=2, ensure_ascii=False) for one in shown]
    return "".join(f"<pre>{escape(text)}</pre>" for text in texts)
