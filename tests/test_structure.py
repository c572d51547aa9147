"""The shape of the source: which way imports point, and what the guest's side does without."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from phoenix_ga.agent.dialects.native.dialect import NATIVE
from phoenix_ga.agent.dialects.qga.commands import COMMANDS as GUEST_COMMANDS
from phoenix_ga.agent.dialects.qga.dialect import QGA
from phoenix_ga.wire.commands import BY_NAME, COMMANDS
from phoenix_ga.wire.declaration import Command
from tools import client_methods, manual, reference

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "phoenix_ga"
# Each part and what it may import of the others.
MAY_IMPORT = {
    "wire": {"wire"},
    "trees": {"trees"},
    "agent": {"agent", "trees", "wire"},
    "client": {"client", "trees", "wire"},
    "hub": {"hub", "client", "wire"},
    "cli": {"cli", "client", "wire"},
    "integrations": {"integrations", "client"},
    "testing": {"testing", "client", "wire"},
}
# The folders of the agent, from the kernel up to the ports, and what each may import of the others.
AGENT_MAY_IMPORT = {
    "linux": {"linux"},
    "core": {"core", "linux"},
    "operations": {"operations", "core", "linux"},
    "endpoints": {"endpoints", "operations", "core", "linux"},
    "protocol": {"protocol", "endpoints", "core", "linux"},
    # Helpers are programs of their own, which commands start.
    "dialects": {"dialects", "protocol", "endpoints", "operations", "core", "linux", "helpers"},
    "ports": {"ports", "protocol", "core", "linux"},
}


def imports(path: Path) -> set[str]:
    """Return the modules that a source file imports, whatever function does it; not those for types only."""
    found: set[str] = set()
    for node in walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found.add(node.module or "")
    return found


def walk(tree: ast.AST) -> list[ast.AST]:
    nodes: list[ast.AST] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            nodes += [inner for other in node.orelse for inner in [other, *walk(other)]]
        else:
            nodes += [node, *walk(node)]
    return nodes


def modules(*parts: str) -> list[Path]:
    return [path for part in parts for path in sorted((PACKAGE / part).rglob("*.py"))]


@pytest.mark.parametrize("path", modules(*MAY_IMPORT), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0]
    for module in imports(path):
        if module.startswith("phoenix_ga."):
            assert module.split(".")[1] in MAY_IMPORT[part], f"{part} must not import {module}"


def dependencies() -> dict[str, set[str]]:
    """Return the modules of the package that each module imports."""
    names: dict[str, Path] = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    found: dict[str, set[str]] = {}
    for name, path in names.items():
        found[name] = set()
        for node in walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found[name].update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                # A module of a package, or a name in a module.
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                found[name].update((inner & names.keys()) or {str(node.module)})
        found[name] &= names.keys()
    return found


def test_no_circle_of_imports() -> None:
    found = dependencies()
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above[above.index(name) :], name])
        if name not in done:
            for each in found[name]:
                visit(each, (*above, name))
            done.add(name)

    for name in found:
        visit(name, ())


@pytest.mark.parametrize("folder", AGENT_MAY_IMPORT)
def test_imports_in_the_agent_point_towards_the_kernel(folder: str) -> None:
    for path in modules(f"agent/{folder}"):
        for module in imports(path):
            if module.startswith("phoenix_ga.agent."):
                assert module.split(".")[2] in AGENT_MAY_IMPORT[folder], f"{path.name} must not import {module}"


def test_operations_and_the_kernel_know_nothing_of_requests() -> None:
    for path in modules("agent/linux", "agent/core", "agent/operations"):
        assert not {name for name in imports(path) if name.startswith("phoenix_ga.wire")}, path.name


@pytest.mark.parametrize("path", modules("wire", "trees", "agent"), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_guests_side_needs_the_standard_library_only(path: Path) -> None:
    for module in imports(path):
        top = module.split(".")[0]
        assert top == "phoenix_ga" or top in {*sys.stdlib_module_names, "_sha2"}, f"{path.name} imports {module}"


def test_only_helper_processes_load_what_tar_streams_need() -> None:
    for path in modules("wire", "agent"):
        if path.parent.name != "helpers":
            found = {name for name in imports(path) if name.startswith(("phoenix_ga.trees", "tarfile"))}
            # That module is about files, not streams.
            assert found <= {"phoenix_ga.trees.xattrs"}, path.name


@pytest.mark.parametrize("path", modules("wire"), ids=lambda path: path.name)
def test_the_wire_has_neither_sockets_nor_a_clock(path: Path) -> None:
    assert not imports(path) & {"socket", "_socket", "select", "time", "os", "asyncio", "threading", "_thread"}


def _offered(command: Command) -> set[str]:
    """Return what a handler is passed besides the arguments."""
    if command.name == "get-session":
        return {"number"}
    return {"revoked"} if command.revocable else set()


def taken_by(package: str, function: str) -> tuple[str, ...]:
    """Return the names of the parameters of a function."""
    module, _, name = function.partition(":")
    code = getattr(__import__(package + module, fromlist=[name]), name).__code__
    names: tuple[str, ...] = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return names


def test_every_declared_command_has_its_handler_or_its_operation() -> None:
    for command in COMMANDS:
        assert bool(command.handler) != bool(command.operation), command.name
        if command.operation:
            names = {argument.python for argument in command.arguments}
            assert set(taken_by("phoenix_ga.agent.operations.", command.operation)) == names, command.name
        else:
            names = {argument.name for argument in command.arguments}
            assert set(taken_by(NATIVE.handlers, command.handler)[1:]) == names | _offered(command), command.name
    for guest_command in GUEST_COMMANDS:
        names = {parameter.name.replace("-", "_") for parameter in guest_command.parameters}
        assert set(taken_by(QGA.handlers, guest_command.handler)[1:]) == names | _offered(guest_command)
        assert all(name in BY_NAME for name in guest_command.governed_by), guest_command.name


def test_every_generated_method_of_the_client_has_a_name_of_its_own_and_a_result() -> None:
    methods = [command.method for command in COMMANDS if command.method]
    assert len(set(methods)) == len(methods)
    assert all(bool(command.method) == bool(command.result) for command in COMMANDS)


def test_every_command_of_the_original_agent_is_there() -> None:
    original = """
        ping get-commands agent-shutdown sysinfo file-open file-read file-write file-close get-file-md5sum
        file-chown file-chmod file-stat directory-create directory-list fs-freeze fs-unfreeze get-freeze-status
        get-netifaces ipaddr-add ipaddr-del linux-ipaddr-add linux-ipaddr-del net-iface-up net-iface-down
        get-route-list route-add route-del
    """
    assert set(original.split()) <= set(BY_NAME)


def test_the_reference_is_what_the_declarations_say() -> None:
    assert reference.TARGET.read_text() == reference.render(), "docs/commands.md is out of date: run `make generate`"


def test_the_page_of_events_is_what_the_declarations_say() -> None:
    assert reference.EVENTS_TARGET.read_text() == reference.render_events(), "out of date: run `make generate`"


def test_the_generated_methods_of_the_client_are_what_the_declarations_say() -> None:
    for path, text in client_methods.render():
        assert path.read_text() == text, f"{path} is out of date: run `make generate`"


def test_the_man_page_of_phoenixctl_is_what_its_declarations_say() -> None:
    assert manual.TARGET.read_text() == manual.render(), "packaging/phoenixctl.1 is out of date: run `make generate`"


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]],
    ids=lambda words: " ".join(words),
)
@pytest.mark.timeout(180)
def test_the_linters_are_content(command: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=180, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", modules("agent"), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_of_the_agent_can_be_read_in_a_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 400
