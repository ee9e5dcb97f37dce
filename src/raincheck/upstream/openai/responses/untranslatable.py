"""What a client is told whose response cannot be asked for as a chat completion."""


class NotTranslatable(Exception):
    """`what` cannot be asked of a server that has chat completions only; `param` names the member."""

    kind, code = "invalid_request_error", "not_translatable"

    def __init__(self, param: str, what: str) -> None:
        self.param = param
        self.message = (
            f"The server of this model has no Responses API, only chat completions, and {what}, which cannot be asked "
            "for there. What can: text, images (as URL or data), files inline, functions and their outputs, "
            "structured output, reasoning effort, token limits, sampling and log probabilities."
        )
        super().__init__(self.message)
