"""`phoenixctl exporter`: what Prometheus gets from it, whatever a guest says."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import ssl
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from phoenix_ga.cli.context import Options
from phoenix_ga.cli.exporter import fleet
from phoenix_ga.client import SILENCE, CommandError, KnownGuest
from phoenix_ga.wire.commands import BY_NAME
from tests.cli.conftest import Run
from tests.cli.exporters import ExporterProcess
from tests.cli.test_metrics import ANSWER, EVIL, samples
from tests.ends.agent import ScriptedAgent
from tests.hub.conftest import HubProcess
from tests.support import AgentProcess, wait_for

ROOT = Path(__file__).parent.parent.parent
PROMETHEUS = ROOT / "integrations" / "prometheus"
DASHBOARD = ROOT / "integrations" / "grafana" / "phoenix-guests.json"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; q=0.8, text/plain; version=0.0.4; q=0.2"
THAWED = {"frozen": False, "remaining": -1, "ended": "", "generation": "", "since": 0, "until": 0, "blocked": 0}
SCRIPT: dict[str, Any] = {"metrics": ANSWER, "ping": "1.2.3"}
LABELS = {"host": socket.gethostname(), "source": "configuration"}


@pytest.fixture
def exporter(tmp_path: Path, scripted: ScriptedAgent) -> Iterator[ExporterProcess]:
    """An exporter of a scripted guest, one that hangs, and one that is not running."""
    scripted.answers.update(SCRIPT)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent.sock"))
        silent.listen(8)
        guests = {
            "web1": scripted.endpoint,
            "hung": f"unix:{tmp_path}/silent.sock",
            "gone": f"unix:{tmp_path}/none.sock",
        }
        with ExporterProcess(tmp_path, guests) as process:
            yield process


@pytest.fixture
def single(tmp_path: Path, scripted: ScriptedAgent) -> Iterator[ExporterProcess]:
    """An exporter of a scripted guest."""
    scripted.answers.update(SCRIPT)
    with ExporterProcess(tmp_path, {"web1": scripted.endpoint}, "--timeout", "2") as process:
        yield process


def described(text: str) -> set[str]:
    return {line for line in text.splitlines() if line.startswith("# ") and line != "# EOF"}


def test_a_probe_has_what_the_verb_metrics_prints_in_both_formats(
    run: Run, exporter: ExporterProcess, scripted: ScriptedAgent
) -> None:
    text = exporter.get("/probe?target=web1")
    assert (text.status, text.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    printed = run("metrics", "--prometheus", scripted.endpoint).stdout
    assert samples(text.text) == samples(printed)
    assert described(text.text) == described(printed)
    opened = exporter.get("/probe?target=web1", Accept=OPENMETRICS)
    assert opened.headers["Content-Type"].startswith("application/openmetrics-text; version=")
    assert opened.text.endswith("# EOF\n")
    printed = run("metrics", "--openmetrics", scripted.endpoint).stdout
    assert samples(opened.text) == samples(printed)
    assert described(opened.text) == described(printed)


def test_a_probe_that_fails_is_no_success(exporter: ExporterProcess, scripted: ScriptedAgent) -> None:
    # Prometheus' own `up` is then 0, which alerts for node_exporter watch.
    gone = exporter.get("/probe?target=gone")
    assert gone.status == 503
    assert gone.text.startswith("gone: ")
    assert "none.sock: no such socket" in gone.text
    scripted.answers["metrics"] = CommandError("\x1b]0;owned\x07\n", 1)
    refused = exporter.get("/probe?target=web1")
    assert refused.status == 503
    assert refused.text[:-1].isprintable()
    hung = exporter.get("/probe?target=hung", X_Prometheus_Scrape_Timeout_Seconds="0.6")
    assert hung.status == 503
    own = samples(exporter.get("/metrics").text)
    assert own['phoenix_exporter_probes_total{result="failure"}'] == 3
    # It answers, although not with metrics.
    assert own['phoenix_guest_up{guest="web1"}'] == 1


def test_only_the_guests_of_the_list_can_be_asked_for(exporter: ExporterProcess, scripted: ScriptedAgent) -> None:
    for target in (scripted.endpoint, "/etc/passwd", "exec:id", "tcp:127.0.0.1:22", "web*", "ssh:localhost/web1"):
        assert exporter.get(f"/probe?target={target}").status == 404
    assert exporter.get("/probe").status == 400
    assert exporter.get("/nothing").status == 404
    assert exporter.get("/metrics", method="POST").status == 405
    assert exporter.get("/", method="HEAD").status == 200
    assert "/sd" in exporter.get("/").text
    assert "metrics" not in scripted.asked


@pytest.mark.parametrize(
    "request_text",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/9\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET /" + b"x" * 100_000,
        b"GET http://[/ HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused_and_the_connection_closed(
    exporter: ExporterProcess, request_text: bytes
) -> None:
    host, _, port = exporter.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(request_text)
        try:
            answer = connection.makefile("rb").read()
        except ConnectionResetError:
            # It did not read all of it.
            answer = b"HTTP/1.1 400 "
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert exporter.get("/probe?target=web1").status == 200


def test_a_connection_serves_one_request_after_the_other(exporter: ExporterProcess) -> None:
    host, _, port = exporter.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(
            b"HEAD / HTTP/1.1\r\n\r\nHEAD /x HTTP/1.1\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n\r\n"
        )
        answer = connection.makefile("rb").read().decode()
    assert re.findall(r"^HTTP/1.1 (\d+)", answer, re.MULTILINE) == ["200", "404"]


def test_a_hung_guest_costs_its_own_probe_only(exporter: ExporterProcess) -> None:
    ended = threading.Event()

    def ask() -> None:
        exporter.get("/probe?target=hung", X_Prometheus_Scrape_Timeout_Seconds="4")
        ended.set()

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            assert exporter.get("/probe?target=web1").status == 200
        assert not ended.is_set()
    finally:
        for thread in threads:
            thread.join()


def test_a_listing_that_hangs_delays_no_guest_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    listings: list[list[KnownGuest]] = []

    def list_guests(self: fleet.Fleet) -> list[KnownGuest]:
        if listings:
            assert go_on.wait(60)
        listings.append([KnownGuest(f"web{number}", "unix:/none.sock", "x") for number in range(len(listings) + 1)])
        return listings[-1]

    monkeypatch.setattr(fleet.Fleet, "_list", list_guests)
    monkeypatch.setattr(fleet, "_INVENTORY_AGE", 0.0)

    async def scenario() -> None:
        guests = fleet.Fleet(Options(), "", 1000)
        known = (await guests.targets())["web0"]
        # As often as it is asked for: one listing is under way.
        assert [await guests.target("web0") for _ in range(3)] == [known] * 3
        await asyncio.sleep(0)
        go_on.set()
        # One that is not known is looked for.
        new = await guests.target("web1")
        assert new is not None
        assert (await guests.target("web0")) is known
        while len(listings) < 3:
            await asyncio.sleep(0.01)

    asyncio.run(scenario())


def test_the_state_of_the_guests(exporter: ExporterProcess, scripted: ScriptedAgent) -> None:
    scripted.answers["metrics"] = {**ANSWER, "frozen": True}
    scripted.answers["get-freeze-status"] = {**THAWED, "frozen": True, "remaining": 30, "stage": ""}
    assert exporter.get("/probe?target=web1").status == 200
    text = exporter.get("/metrics").text
    found = samples(text)
    assert found['phoenix_guest_up{guest="web1"}'] == 1
    assert found['phoenix_guest_up{guest="hung"}'] == 0
    assert found['phoenix_guest_up{guest="gone"}'] == 0
    assert found['phoenix_guest_frozen{guest="web1"}'] == 1
    assert 0 <= found['phoenix_guest_freeze_remaining_seconds{guest="web1"}'] <= 30
    assert found['phoenix_guest_probe_duration_seconds{guest="web1"}'] > 0
    assert 'phoenix_guest_frozen{guest="hung"}' not in found
    info = next(series for series in found if series.startswith("phoenix_guest_info{") and 'guest="web1"' in series)
    for label in ('dialect="phoenix"', 'version="1.2.3"', 'source="configuration"', f'host="{LABELS["host"]}"'):
        assert label in info
    assert found["phoenix_hub_up"] == 0
    assert found["process_resident_memory_bytes"] > 0
    listed = json.loads(exporter.get("/sd").text)
    assert listed == [
        {"targets": ["gone"], "labels": LABELS},
        {"targets": ["hung"], "labels": LABELS},
        {"targets": ["web1"], "labels": {**LABELS, "os": ANSWER["os"]["id"]}},
    ]
    # Guests that were just asked are not asked again.
    assert scripted.asked.count("ping") == 1


def test_guests_are_listed_with_their_system_before_anybody_scrapes_them(tmp_path: Path, agent: AgentProcess) -> None:
    with ExporterProcess(tmp_path, {"web1": f"unix:{agent.socket_path}"}) as exporter:
        listed = json.loads(exporter.get("/sd").text)
        assert listed == [{"targets": ["web1"], "labels": {**LABELS, "os": listed[0]["labels"]["os"]}}]
        assert re.fullmatch(r"[a-z0-9._-]+", listed[0]["labels"]["os"])


def test_a_hostile_guest_is_cut_short(tmp_path: Path, scripted: ScriptedAgent) -> None:
    scripted.answers.update(SCRIPT)
    scripted.answers["ping"] = EVIL
    scripted.answers["metrics"] = {
        **ANSWER,
        "uname": dict.fromkeys(ANSWER["uname"], EVIL + "y" * 1000),
        "os": {"id": EVIL, "pretty_name": EVIL},
        "memory": {EVIL: 1, "Forged": 1, **ANSWER["memory"]},
        "disks": [{"name": f"sd{EVIL}{number}", "reads": 1, "writes": 1} for number in range(300)],
    }
    with ExporterProcess(tmp_path, {"web1": scripted.endpoint}, "--max-series", "200", "--timeout", "2") as exporter:
        text = exporter.get("/probe?target=web1").text
        found = samples(text)
        assert len(found) == 200
        assert text.replace("\n", "").isprintable()
        assert all(re.match(r"node_[a-zA-Z0-9_]+[{]?", series) for series in found)
        assert "Forged" not in text
        assert "y" * 257 not in text
        own = exporter.get("/metrics").text
        assert own.replace("\n", "").isprintable()
        assert samples(own)['phoenix_guest_omitted_series{guest="web1"}'] > 400
        assert json.loads(exporter.get("/sd").text) == [{"targets": ["web1"], "labels": LABELS}]
        # An answer that is longer than any guest's must be.
        scripted.answers["metrics"] = b'{"return": "' + b"x" * 2_000_000
        assert exporter.get("/probe?target=web1").status == 503
        scripted.answers["metrics"] = SILENCE
        answer = exporter.get("/probe?target=web1", X_Prometheus_Scrape_Timeout_Seconds="nan")
        assert answer.status == 503


def test_what_the_hub_says_is_passed_on(tmp_path: Path, agent: AgentProcess) -> None:
    viewer = '[[rule]]\nusers = ["nobody"]\nallow = ["viewer"]\n'
    with HubProcess(tmp_path, {"web1": f"unix:{agent.socket_path}"}, viewer) as hub:
        # The exporter has no guests of its own here: it serves those of the hub.
        with ExporterProcess(tmp_path, {}, PHOENIX_HUB_DIRECTORY=str(tmp_path / "hub")) as exporter:
            assert exporter.get("/probe?target=web1").status == 200
            found = samples(exporter.get("/metrics").text)
        assert found["phoenix_hub_up"] == 1
        assert found['phoenix_hub_received_bytes_total{guest="web1"}'] > 1000
        assert found['phoenix_hub_sent_bytes_total{guest="web1"}'] > 50
        assert found['phoenix_hub_refusals_total{guest="web1"}'] == 0
        assert found['phoenix_hub_streams{guest="web1"}'] == 0
        assert found['phoenix_hub_clients{guest="web1"}'] == 0
        # The rule that docs/exporter.md has for the exporter's user is enough.
        for command in ("metrics", "ping", "get-freeze-status", "guest-info", "guest-get-osinfo", "sysinfo"):
            assert hub.ask("explain", user="nobody", guest="web1", command=command)["allowed"], command


def test_usage(run: Run, tmp_path: Path) -> None:
    for address in ("9747", "127.0.0.1:http", "::1:9747", ":70000"):
        result = run("exporter", "--web.listen-address", address, XDG_CONFIG_HOME=str(tmp_path))
        assert result.returncode == 2
        assert "is not an address" in result.stderr
    result = run("exporter", "nobody", XDG_CONFIG_HOME=str(tmp_path))
    assert result.returncode == 2
    assert "no guest is named 'nobody'" in result.stderr


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[1]", "the file must be a mapping"),
        ("a: [", "a: ["),
        ("tls: {}", "'tls' is unknown"),
        ("tls_server_config: {cert_file: a}", "needs cert_file and key_file"),
        ("tls_server_config: {cert_file: a, key_file: b}", "No such file"),
        ("tls_server_config: {cipher_suites: [x]}", "'cipher_suites' is unknown or not supported"),
        ("basic_auth_users: {admin: secret}", "must have hashes by bcrypt"),
        ("http_server_config: {headers: {Set-Cookie: x}}", "'Set-Cookie' is unknown"),
    ],
)
def test_a_web_configuration_that_is_wrong_is_explained(run: Run, tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "web.yml"
    path.write_text(text)
    result = run("exporter", "--web.config.file", path, XDG_CONFIG_HOME=str(tmp_path))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    if complaint != text:
        assert complaint in result.stderr


@pytest.mark.programs("openssl")
def test_tls_passwords_and_headers_by_the_web_configuration(tmp_path: Path, scripted: ScriptedAgent) -> None:
    scripted.answers.update(SCRIPT)
    make_certificate(tmp_path, "server")
    make_certificate(tmp_path, "client")
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    (tmp_path / "web.yml").write_text(f"""
tls_server_config:
  cert_file: server.crt
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: client.crt
basic_auth_users:
  admin: {hashed}
http_server_config:
  headers:
    X-Frame-Options: deny
""")
    context = ssl.create_default_context(cafile=str(tmp_path / "server.crt"))
    anonymous = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
    with ExporterProcess(
        tmp_path, {"web1": scripted.endpoint}, "--web.config.file", str(tmp_path / "web.yml")
    ) as exporter:
        with pytest.raises(OSError, match=r"certificate|reset|EOF|closed|Broken"):
            anonymous.open(f"{exporter.url}/sd", timeout=30).read()
        context = ssl.create_default_context(cafile=str(tmp_path / "server.crt"))
        context.load_cert_chain(tmp_path / "client.crt", tmp_path / "client.key")
        urllib.request.install_opener(urllib.request.build_opener(urllib.request.HTTPSHandler(context=context)))
        try:
            for authorization in ("", basic("admin", "wrong"), basic("nobody", "secret"), "Basic ???", "Bearer x"):
                refused = exporter.get("/sd", Authorization=authorization)
                assert refused.status == 401
                assert refused.headers["WWW-Authenticate"].startswith("Basic ")
                assert "web1" not in refused.text
            for _ in range(2):
                accepted = exporter.get("/probe?target=web1", Authorization=basic("admin", "secret"))
                assert accepted.status == 200
                assert accepted.headers["X-Frame-Options"] == "deny"
            # A renewed certificate is used without a restart; the old one is not trusted any more.
            make_certificate(tmp_path, "server")
            context = ssl.create_default_context(cafile=str(tmp_path / "server.crt"))
            context.load_cert_chain(tmp_path / "client.crt", tmp_path / "client.key")
            urllib.request.install_opener(urllib.request.build_opener(urllib.request.HTTPSHandler(context=context)))
            assert exporter.get("/sd", Authorization=basic("admin", "secret")).status == 200
        finally:
            urllib.request.install_opener(urllib.request.build_opener())


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def make_certificate(directory: Path, name: str) -> None:
    """Write a key and a self-signed certificate of 127.0.0.1."""
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    words += ["-keyout", str(directory / f"{name}.key"), "-out", str(directory / f"{name}.crt")]
    subprocess.run(words, check=True, capture_output=True, timeout=60)


@pytest.mark.programs("promtool")
def test_promtool_has_no_complaints_about_the_state_of_guests(single: ExporterProcess) -> None:
    single.get("/probe?target=web1")
    text = single.get("/metrics").text
    result = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.programs("promtool")
def test_the_rules_are_right(tmp_path: Path) -> None:
    for words in (["test", "rules", "phoenix-rules-test.yml"], ["check", "config", "prometheus.yml"]):
        result = subprocess.run(["promtool", *words], capture_output=True, text=True, timeout=60, cwd=PROMETHEUS)
        assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.programs("promtool")
def test_the_dashboard_asks_for_metrics_that_there_are(
    tmp_path: Path, single: ExporterProcess, scripted: ScriptedAgent
) -> None:
    scripted.answers["metrics"] = {
        **ANSWER,
        "pressure": {name: {"some": {"total": 1}} for name in ("io", "memory", "cpu")},
    }
    available = single.get("/probe?target=web1").text + single.get("/metrics").text
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert {"type", "title", "gridPos", "datasource", "targets"} <= panel.keys()
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    hub = {f"phoenix_hub_{name}" for name in ("clients", "streams", "received_bytes_total", "sent_bytes_total")}
    for name in re.findall(r"\b(?:node|phoenix)_\w+", " ".join([*expressions, *alert_expressions()])):
        assert f"# TYPE {name} " in available or name in {*hub, "phoenix_hub_refusals_total"}, name
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "1m").replace("$instance", ".*")}
        for number, expression in enumerate(expressions)
    ]
    path = tmp_path / "dashboard.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    result = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


def alert_expressions() -> list[str]:
    return re.findall(r"expr: (.*)", (PROMETHEUS / "phoenix-rules.yml").read_text())


@pytest.mark.programs("prometheus")
def test_the_real_prometheus_scrapes_with_the_configuration_that_is_shipped(
    tmp_path: Path, exporter: ExporterProcess
) -> None:
    text = (PROMETHEUS / "prometheus.yml").read_text().replace("127.0.0.1:9747", exporter.address)
    config = tmp_path / "prometheus.yml"
    config.write_text(text.replace("_interval: 15s", "_interval: 2s"))
    (tmp_path / "phoenix-rules.yml").write_text((PROMETHEUS / "phoenix-rules.yml").read_text())
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = "{}:{}".format(*probe.getsockname())
    words = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    with (tmp_path / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*words, f"--web.listen-address={address}"], stdout=log, stderr=log)

    def query(expression: str) -> dict[str, float]:
        """Return the values by the name of the guest."""
        url = f"http://{address}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                result = json.load(response)["data"]["result"]
        except OSError:
            return {}
        return {
            each["metric"].get("guest") or each["metric"].get("instance", ""): float(each["value"][1])
            for each in result
        }

    try:
        wait_for(lambda: query('up{job="node"}') == {"web1": 1, "hung": 0, "gone": 0})
        assert query('node_os_info{id="debian",job="node"}') == {"web1": 1}
        assert query("node_disk_read_bytes_total") == {"web1": 1400000 * 512}
        wait_for(lambda: query("phoenix_guest_up") == {"web1": 1, "hung": 0, "gone": 0})
        wait_for(lambda: query('ALERTS{alertname="PhoenixGuestDown"}') == {"hung": 1, "gone": 1})
    finally:
        process.kill()
        process.wait()


def test_the_example_of_metrics_is_that_of_debian() -> None:
    assert BY_NAME["metrics"].examples[0].answer["os"]["id"] == "debian"
