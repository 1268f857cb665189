"""The playground: a page for people who tune a search, served by the gateway at `/_esblend/`."""

import re
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route

_STATIC = Path(__file__).parent / "static"
_MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css"}
_NAME = re.compile(r"[a-z_]+\.(?:js|css)")
_HEADERS = {
    # The page loads its own files and talks to the gateway that served it, and to nothing else.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def routes() -> list[Route]:
    return [
        Route("/_esblend", lambda _: RedirectResponse("/_esblend/"), methods=["GET"]),
        Route("/_esblend/", _page, methods=["GET"]),
        Route("/_esblend/playground/{file}", _asset, methods=["GET"]),
    ]


async def _page(_: Request) -> Response:
    return FileResponse(_STATIC / "index.html", media_type="text/html", headers=_HEADERS)


async def _asset(request: Request) -> Response:
    name = request.path_params["file"]
    file = _STATIC / name
    if not _NAME.fullmatch(name) or not file.is_file():
        raise HTTPException(404)
    return FileResponse(file, media_type=_MEDIA_TYPES[file.suffix], headers=_HEADERS)
