"""A proxy in front of Elasticsearch that answers one document's bulk item with status 500, as a failing shard does. It passes only
JSON."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.real.forwarding import Forwarding, serving

_ERROR = {"type": "i_o_exception", "reason": "No space left on device"}


class Spoiler:
    """While `remaining` is above 0, operations on the document `id_` never reach Elasticsearch. `times` counts them. Bulk requests
    that are not JSON get the status `refusal`."""

    def __init__(self, elasticsearch: str, id_: str, remaining: int, refusal: int = 415) -> None:
        self.elasticsearch = elasticsearch
        self.id_ = id_
        self.remaining = remaining
        self.refusal = refusal
        self.times = 0
        self.refused = 0
        """Bulk requests that were not JSON."""

    def take(self, lines: list[bytes]) -> tuple[list[bytes], list[int]]:
        """The lines of a bulk body without the spoiled operations, and the positions of these."""
        chunks: list[bytes] = []
        spoiled: list[int] = []
        for position, start in enumerate(range(0, len(lines), 2)):
            [(_, action)] = json.loads(lines[start]).items()
            if action["_id"] == self.id_ and self.remaining > 0:
                self.remaining -= 1
                self.times += 1
                spoiled.append(position)
            else:
                chunks += lines[start : start + 2]
        return chunks, spoiled


@contextmanager
def spoiling(spoiler: Spoiler) -> Iterator[str]:
    """The URL of the proxy."""

    class Handler(Forwarding):
        def handle_any(self) -> None:
            body = self.read()
            spoiled: list[int] = []
            if self.endpoint == "/_bulk":
                if "json" not in self.headers.get("content-type", ""):
                    spoiler.refused += 1
                    self.reply(spoiler.refusal, {}, b'{"error": "only JSON"}')
                    return
                lines, spoiled = spoiler.take(body.splitlines())
                body = b"".join(line + b"\n" for line in lines)
            if spoiled and not body:
                self.reply(200, {"x-elastic-product": "Elasticsearch"}, with_failures(b'{"items": []}', spoiled))
                return
            status, headers, answer = self.forward(spoiler.elasticsearch, body)
            self.reply(status, headers, with_failures(answer, spoiled) if spoiled else answer)

    with serving(Handler) as url:
        yield url


def with_failures(answer: bytes, positions: list[int]) -> bytes:
    """A bulk response with failed items at these positions."""
    content: dict[str, Any] = {"took": 1, "errors": True, **json.loads(answer)}
    for position in positions:
        content["items"].insert(position, {"update": {"status": 500, "error": _ERROR}})
    return json.dumps({**content, "errors": True}).encode()
