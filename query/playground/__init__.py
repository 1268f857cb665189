"""The playground: a page for people who tune a search, served by the gateway at `/_esblend/`."""

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route

_STATIC = Path(__file__).parent / "static"
_FILES = {"": ("index.html", "text/html"), "app.js": ("app.js", "text/javascript"), "view.js": ("view.js", "text/javascript"),
          "style.css": ("style.css", "text/css")}  # fmt: skip
_HEADERS = {
    # Nothing but the page's own files and requests to the gateway that served it.
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
        Route("/_esblend/playground/{file}", _page, methods=["GET"]),
    ]


async def _page(request: Request) -> Response:
    found = _FILES.get(request.path_params.get("file", ""))
    if found is None:
        raise HTTPException(404)
    name, kind = found
    return FileResponse(_STATIC / name, media_type=kind, headers=_HEADERS)
