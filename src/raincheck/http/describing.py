"""Takes a sentence, examples and parameters of a route, hands on its description as Litestar wants it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from litestar.openapi.spec import (
    Example,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Parameter,
    Reference,
    RequestBody,
    Schema,
)


@dataclass
class Verbatim(Schema):
    """A JSON Schema as msgspec writes it."""

    written: dict[str, Any] = field(default_factory=dict[str, Any])

    def to_schema(self) -> dict[str, Any]:
        return self.written


@dataclass
class Shown(Example):
    """An example with its nulls, which Litestar would leave out."""

    def to_schema(self) -> dict[str, Any]:
        return {"value": self.value}


ANY_OBJECT = Verbatim(written={"type": "object"})


def described(
    summary: str,
    description: str,
    answers: Mapping[int, tuple[str, object]],
    *,
    body: object = None,
    parameters: Sequence[Parameter] = (),
    schema: str | Sequence[str] | None = None,
    loose: bool = False,
    also: Callable[[Operation], None] | None = None,
) -> type[Operation]:
    """The description of a route. `answers` has a sentence and an example per status; text examples are no JSON.

    `schema` names the components of which a JSON answer below 300 follows one. Without, it has the members of its
    example, unless it is `loose`: an upstream's own, or in one of several dialects. `also` adds what no answer shows.
    """
    shapes = Verbatim(written={"type": "object"}) if loose else _one_of([schema] if isinstance(schema, str) else schema)

    @dataclass
    class Described(Operation):
        def __post_init__(self) -> None:
            self.summary = summary
            self.description = " ".join(description.split())
            self.parameters = list(parameters) or None
            self.request_body = None if body is None else RequestBody(content=_content(body, ANY_OBJECT), required=True)
            self.responses = {
                str(status): OpenAPIResponse(sentence, content=_content(shown, shapes if status < 300 else ANY_OBJECT))
                for status, (sentence, shown) in answers.items()
            }
            if also is not None:
                also(self)

    return Described


def parameter(name: str, place: str, sentence: str, kind: str = "string", *, required: bool = False) -> Parameter:
    """What a path, a query or a header may say."""
    schema = Verbatim(written={"type": kind})
    return Parameter(name=name, param_in=place, description=sentence, schema=schema, required=required)


def _one_of(names: Sequence[str] | None) -> Schema | Reference | None:
    references = [Reference(ref=f"#/components/schemas/{name}") for name in names or ()]
    return Schema(any_of=references) if len(references) > 1 else next(iter(references), None)


def _content(shown: object, kind: Schema | Reference | None) -> dict[str, OpenAPIMediaType]:
    """JSON of this kind, or with the members of the example; text when the example is one."""
    examples: dict[str, Example | Reference] = {"example": Shown(value=shown)}
    if isinstance(shown, str):
        media_type = "text/event-stream" if shown.startswith("event:") else "text/plain"
        return {media_type: OpenAPIMediaType(examples=examples)}
    if kind is None and isinstance(shown, dict):
        kind = Verbatim(written={"type": "object", "required": sorted(shown)})  # pyright: ignore[reportUnknownArgumentType]
    return {"application/json": OpenAPIMediaType(schema=kind or ANY_OBJECT, examples=examples)}
