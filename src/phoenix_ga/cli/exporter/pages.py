"""The pages of the exporter: what is behind each path."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from phoenix_ga.cli.exporter import own_metrics
from phoenix_ga.cli.exporter.fleet import PROBE_TIMEOUT, ProbeError
from phoenix_ga.cli.exporter.formats import encode, process_metrics
from phoenix_ga.cli.exporter.http_server import HttpRequest, HttpResponse
from phoenix_ga.cli.output import escape
from phoenix_ga.client import PhoenixError

if TYPE_CHECKING:
    from phoenix_ga.cli.exporter.fleet import Fleet, Target
    from phoenix_ga.cli.exporter.web_config import WebConfig
    from phoenix_ga.cli.exposition import Family

# Seconds that an answer needs on its way to a Prometheus that gives up after a given time.
_RESERVE: Final = 0.5
_SHORTEST: Final = 0.1
_ERROR_MAX: Final = 1000
_START_PAGE: Final = b"""\
<!DOCTYPE html>
<html><head><title>Phoenix exporter</title></head>
<body><h1>Phoenix exporter</h1>
<ul>
<li><a href="/metrics">/metrics</a>: the state of the guests and of the hub</li>
<li><a href="/sd">/sd</a>: the guests, for http_sd_configs</li>
<li>/probe?target=GUEST: the metrics of a guest</li>
</ul></body></html>
"""


class Pages:
    """Answers requests."""

    def __init__(self, fleet: Fleet, web: WebConfig, timeout: float | None) -> None:
        """Make the pages.

        Args:
            timeout: for each guest, in seconds.
        """
        self._fleet = fleet
        self._web = web
        self._timeout = PROBE_TIMEOUT if timeout is None else timeout
        # One at a time, so that those who guess passwords do not take all processors.
        self._passwords = ThreadPoolExecutor(max_workers=1)

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """Return the response to a request."""
        response = await self._answer(request)
        if not self._web.headers:
            return response
        headers = {**response.headers, **self._web.headers}
        return HttpResponse(response.status, response.body, response.content_type, headers)

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        if self._web.has_users and not await self._is_accepted(request):
            headers = {"WWW-Authenticate": 'Basic realm="phoenix", charset="UTF-8"'}
            return HttpResponse(HTTPStatus.UNAUTHORIZED, b"Unauthorized\n", headers=headers)
        if request.method not in ("GET", "HEAD"):
            return HttpResponse(HTTPStatus.METHOD_NOT_ALLOWED, b"use GET\n", headers={"Allow": "GET, HEAD"})
        pages = {"/probe": self._probe, "/metrics": self._metrics, "/sd": self._discovery}
        try:
            if request.path in pages:
                return await pages[request.path](request)
            if request.path == "/":
                return HttpResponse(HTTPStatus.OK, _START_PAGE, "text/html; charset=utf-8")
        except PhoenixError as error:
            return _error(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        return _error(HTTPStatus.NOT_FOUND, "there are /metrics, /sd and /probe?target=GUEST")

    async def _is_accepted(self, request: HttpRequest) -> bool:
        authorization = request.headers.get("authorization", "")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._passwords, self._web.is_accepted, authorization)

    async def _probe(self, request: HttpRequest) -> HttpResponse:
        name = request.arguments.get("target", "")
        if not name:
            return _error(HTTPStatus.BAD_REQUEST, "name a guest: /probe?target=GUEST")
        target = await self._fleet.target(name)
        if target is None:
            # Anything else that phoenixctl takes for GUEST, such as a path, is not for those who scrape.
            return _error(HTTPStatus.NOT_FOUND, f"no guest is named {name}; /sd lists the guests")
        try:
            families = await self._fleet.probe(target, self._time_limit(request))
        except ProbeError as error:
            # So `up` is 0, as that of a node_exporter whose machine is down.
            return _error(HTTPStatus.SERVICE_UNAVAILABLE, f"{name}: {error}")
        return _metrics_page(request, families)

    async def _metrics(self, request: HttpRequest) -> HttpResponse:
        loop = asyncio.get_running_loop()
        hub = loop.run_in_executor(None, own_metrics.hub_families)
        targets = await self._fleet.refresh(self._time_limit(request))
        families = [*own_metrics.guest_families(targets), *own_metrics.fleet_families(self._fleet), *await hub]
        body, content_type = encode(families, request.headers.get("accept", ""), process_metrics())
        return HttpResponse(HTTPStatus.OK, body, content_type)

    async def _discovery(self, request: HttpRequest) -> HttpResponse:
        targets = await self._fleet.refresh(self._time_limit(request))
        body = json.dumps([_entry(target) for target in targets], indent=1)
        return HttpResponse(HTTPStatus.OK, body.encode() + b"\n", "application/json")

    def _time_limit(self, request: HttpRequest) -> float:
        try:
            given = float(request.headers["x-prometheus-scrape-timeout-seconds"]) - _RESERVE
        except (KeyError, ValueError):
            return self._timeout
        # A NaN is neither.
        return max(given, _SHORTEST) if given < self._timeout else self._timeout


def _entry(target: Target) -> dict[str, object]:
    labels = {"host": target.host, "source": target.source}
    if target.state.os:
        labels["os"] = target.state.os
    return {"targets": [target.guest.name], "labels": labels}


def _metrics_page(request: HttpRequest, families: list[Family]) -> HttpResponse:
    body, content_type = encode(families, request.headers.get("accept", ""))
    return HttpResponse(HTTPStatus.OK, body, content_type)


def _error(status: HTTPStatus, text: str) -> HttpResponse:
    return HttpResponse(status, escape(text[:_ERROR_MAX]).encode("utf-8", "backslashreplace") + b"\n")
