"""`phoenixctl exporter`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from phoenix_ga.cli.completion import complete_guest
from phoenix_ga.cli.context import Options
from phoenix_ga.cli.errors import complain
from phoenix_ga.cli.running import run
from phoenix_ga.cli.verb import verb

if TYPE_CHECKING:
    from phoenix_ga.cli.exporter.pages import Pages
    from phoenix_ga.cli.exporter.web_config import WebConfig

DEFAULT_ADDRESS = "127.0.0.1:9747"
_SERIES_MAX = 10_000
# Descriptors for connections to guests and from Prometheus.
_DESCRIPTORS = 4096


@verb(
    short_help="Serve the metrics of guests to Prometheus.",
    epilog="""\b
Paths:
  /probe?target=GUEST   a guest's metrics, with the names of Prometheus' node_exporter
  /metrics              the state of each guest, and of the hub
  /sd                   the guests, for http_sd_configs of Prometheus

\b
Without GUEST, all guests of this host and of the configured other hosts are served. GUEST takes
patterns and groups. No other guest can be asked for. --timeout limits the time for each guest.

\b
The file of --web.config.file has the format that all exporters of Prometheus use, and turns on
TLS and passwords. Without it, everybody who can connect to the address can read the metrics.

\b
Examples:
  $ phoenixctl exporter --web.listen-address :9747 --web.config.file web.yml
  $ phoenixctl exporter
""",
)
@click.argument("words", metavar="[GUEST]...", nargs=-1, shell_complete=complete_guest)
@click.option(
    "--web.listen-address",
    "addresses",
    metavar="[HOST]:PORT",
    multiple=True,
    help=f"Address to listen on; without HOST: all addresses. Repeatable. Default: {DEFAULT_ADDRESS}.",
)
@click.option(
    "--web.config.file",
    "web_config",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Web configuration of Prometheus, for TLS and passwords.",
)
@click.option(
    "--max-series",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    default=_SERIES_MAX,
    show_default=True,
    help="Maximum number of series of a guest; the rest is left out.",
)
@click.pass_obj
def command(
    options: Options, words: tuple[str, ...], addresses: tuple[str, ...], web_config: str | None, max_series: int
) -> None:
    """Serve the metrics of guests to Prometheus until interrupted."""
    try:
        import prometheus_client  # noqa: F401
    except ImportError:
        raise click.ClickException(
            "prometheus_client is missing; install python3-prometheus-client, or: "
            "pip install 'phoenix-guest-agent[exporter]'"
        ) from None
    from phoenix_ga.cli.exporter.fleet import Fleet
    from phoenix_ga.cli.exporter.pages import Pages
    from phoenix_ga.cli.exporter.web_config import WebConfig, WebConfigError
    from phoenix_ga.cli.fanout import raise_file_limit

    try:
        web = WebConfig(web_config)
    except WebConfigError as error:
        raise click.ClickException(str(error)) from None
    places = [_address(each) for each in addresses or (DEFAULT_ADDRESS,)]
    raise_file_limit(_DESCRIPTORS)

    async def serve() -> None:
        fleet = Fleet(options, ",".join(words), max_series)
        await fleet.targets()
        await _serve(Pages(fleet, web, options.timeout), web, places)

    run(serve())


async def _serve(pages: Pages, web: WebConfig, places: list[tuple[str, int]]) -> None:
    import asyncio

    from phoenix_ga.cli.exporter.http_server import HttpServer

    server = HttpServer(pages.answer)
    try:
        for host, port in places:
            try:
                port = await server.listen(host, port, web.tls)
            except OSError as error:
                raise click.ClickException(f"{host}:{port}: {error.strerror or error}") from None
            shown = f"[{host}]" if ":" in host else host or "0.0.0.0"
            complain(f"serving http{'s' * bool(web.tls)}://{shown}:{port}/")
        await asyncio.get_running_loop().create_future()
    finally:
        await server.close()


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535 or (":" in host and not host.startswith("[")):
        raise click.UsageError(f"{text!r} is not an address; examples are :9747, 127.0.0.1:9747 and [::1]:9747.")
    return host.strip("[]"), int(port)
