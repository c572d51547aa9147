"""The metrics of the exporter itself: the state of each guest, and of the hub."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from phoenix_ga.cli.exposition import Family
from phoenix_ga.client import PhoenixError
from phoenix_ga.client.hub_control import ask_hub
from phoenix_ga.client.probe import ANSWERS

if TYPE_CHECKING:
    from phoenix_ga.cli.exporter.fleet import Fleet, Target

# The hub is a program of this host: it answers, or it hangs.
_HUB_TIMEOUT = 2.0
_INFO = ("guest", "host", "source", "dialect", "version", "system")


def guest_families(targets: Iterable[Target]) -> list[Family]:
    """Return the state of guests. One that was not asked yet has no sample."""
    guest = ("guest",)
    up = Family("phoenix_guest_up", "gauge", "Whether the agent of the guest answers.", guest)
    info = Family("phoenix_guest_info", "gauge", "A metric with a constant '1' value labeled by the agent.", _INFO)
    frozen = Family("phoenix_guest_frozen", "gauge", "Whether the agent has frozen filesystems.", guest)
    remaining = Family(
        "phoenix_guest_freeze_remaining_seconds", "gauge", "Time until the agent thaws automatically.", guest
    )
    duration = Family(
        "phoenix_guest_probe_duration_seconds", "gauge", "How long the last request to the guest took.", guest
    )
    omitted = Family(
        "phoenix_guest_omitted_series",
        "gauge",
        "Series beyond the limit, left out of the last probe.",
        guest,
    )
    for target in targets:
        name, state = target.guest.name, target.state
        if not state.time:
            continue
        answers = state.state == ANSWERS
        up.add(int(answers), name)
        info.add(1, name, target.host, target.source, state.dialect, state.version, state.system)
        duration.add(state.duration, name)
        omitted.add(state.omitted, name)
        if state.frozen is not None and answers:
            frozen.add(int(state.frozen), name)
        if state.thaws_at is not None:
            remaining.add(max(state.thaws_at - time.monotonic(), 0.0), name)
    return [up, info, frozen, remaining, duration, omitted]


def fleet_families(fleet: Fleet) -> Iterator[Family]:
    """Return what the exporter did, and the other hosts that do not answer."""
    probes = Family("phoenix_exporter_probes_total", "counter", "Probes of guests.", ("result",))
    for result, count in fleet.probes.items():
        probes.add(count, result)
    yield probes
    hosts = Family("phoenix_host_unreachable", "gauge", "Other hosts that did not list their guests.", ("host",))
    for host in fleet.unreachable:
        hosts.add(1, host)
    yield hosts


def hub_families() -> list[Family]:
    """Return what the hub says of itself; it is down if there is none."""
    up = Family("phoenix_hub_up", "gauge", "Whether a hub answers.")
    try:
        guests: list[dict[str, Any]] = ask_hub("status", timeout=_HUB_TIMEOUT)
    except PhoenixError:
        up.add(0)
        return [up]
    up.add(1)
    guest = ("guest",)
    clients = Family("phoenix_hub_clients", "gauge", "Clients that are connected to the guest.", guest)
    streams = Family("phoenix_hub_streams", "gauge", "Streams that clients have open.", guest)
    received = Family("phoenix_hub_received_bytes_total", "counter", "Bytes from the guest.", guest)
    sent = Family("phoenix_hub_sent_bytes_total", "counter", "Bytes to the guest.", guest)
    refusals = Family("phoenix_hub_refusals_total", "counter", "Requests that a rule refused.", guest)
    for each in guests:
        name = each["name"]
        clients.add(each["client_count"], name)
        streams.add(each["stream_count"], name)
        received.add(each["received"], name)
        sent.add(each["sent"], name)
        refusals.add(each["refused"], name)
    return [up, clients, streams, received, sent, refusals]
