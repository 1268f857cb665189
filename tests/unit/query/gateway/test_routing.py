"""Requests are routed by their raw path."""

from typing import Any

import pytest

from query.gateway.routing import Route, route_of


def scope(method: str, path: str, *, body: bool = True) -> dict[str, Any]:
    headers = [(b"content-length", b"2")] if body else []
    raw = path.encode()
    return {"type": "http", "method": method, "path": path, "raw_path": raw, "headers": headers, "query_string": b""}


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("POST", "/_search", Route("search", "")),
        ("GET", "/a,b*/_search", Route("search", "a,b*")),
        ("POST", "/a%2Fb/_search", Route("search", "a/b")),
        ("POST", "/%3Clogs-%7Bnow%2Fd%7D%3E/_search/", Route("search", "<logs-{now/d}>")),
        ("POST", "/a/_async_search", Route("async_search", "a")),
        ("POST", "/_msearch", Route("multi_search", "")),
        ("POST", "/a/_search/template", Route("no_ranking", "a", "_search/template")),
        ("DELETE", "/a/_search", Route("pass_through", "a")),
        ("PUT", "/a/_doc/_search", Route("write", "a")),
        ("POST", "/_bulk", Route("write", "")),
        ("POST", "/a/_bulk", Route("write", "a")),
        ("POST", "/a/_update/1", Route("write", "a")),
        ("POST", "/a/_update_by_query", Route("no_ranking", "a", "_update_by_query")),
        ("GET", "/a/_count", Route("query", "a")),
        ("POST", "/_validate/query", Route("query", "")),
        ("POST", "/a/_explain/1", Route("query", "a")),
        ("GET", "/a/_doc/1", Route("pass_through", "a")),
        ("GET", "/_esblend/health/live", Route("management", "")),
        ("GET", "/", Route("pass_through", "")),
    ],
)
def test_the_handler_follows_from_method_and_path(method: str, path: str, route: Route) -> None:
    assert route_of(scope(method, path)) == route


def test_a_search_without_a_body_asks_for_nothing_of_ours() -> None:
    assert route_of(scope("GET", "/a/_search", body=False)).handler == "pass_through"
