"""/v1/responses: OpenAI's background mode."""

from raincheck.http.responses import creating, ending, reading

HANDLERS = (*creating.HANDLERS, *reading.HANDLERS, *ending.HANDLERS)
