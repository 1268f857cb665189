"""Large bodies are sent in parts."""

from typing import Any

import pytest

from query.gateway.parts import ResponseInParts


@pytest.mark.parametrize(("size", "parts"), [(0, 1), (10, 1), (2**20, 1), (2**20 + 1, 2), (2**22, 4)])
async def test_a_body_arrives_whole_in_parts_of_a_megabyte(size: int, parts: int) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    body = bytes(n % 251 for n in range(1000)) * (size // 1000 + 1)
    await ResponseInParts(body[:size])({"type": "http"}, send, send)  # type: ignore[arg-type]
    start, *bodies = sent
    assert (b"content-length", str(size).encode()) in start["headers"]
    assert b"".join(message["body"] for message in bodies) == body[:size]
    assert [message.get("more_body", False) for message in bodies] == [True] * (parts - 1) + [False]
