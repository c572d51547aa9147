"""Build the agent as one file for Python 3.9 and later: `python -m tools.build_pyz`.

The archive contains byte code for the interpreters of BYTE_CODE_VERSIONS that are found on this machine, and the
source, without docstrings, for all others. It is compressed: that costs an idle agent 50 KB for zlib.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from phoenix_ga.agent.profile import NAMES as PROFILES
from tools import build_native

SOURCE = Path(__file__).parent.parent / "src"
TARGET = Path(__file__).parent.parent / "dist" / "phoenix-ga.pyz"
PARTS = ("phoenix_ga/__init__.py", "phoenix_ga/wire", "phoenix_ga/trees", "phoenix_ga/agent")
# Read by pkgutil, next to the modules of each tree.
DATA = (
    "phoenix_ga/agent/phoenix-ga.service",
    "phoenix_ga/agent/60-phoenix-ga.rules",
    *(f"phoenix_ga/agent/profiles/{name}.{kind}" for name in PROFILES for kind in ("conf", "service")),
)
# Where the agent looks for the waiter of its machine, see phoenix_ga/agent/linux/waiter.py.
NATIVE = "phoenix_ga/agent/native"
MINOR_VERSIONS = range(9, 20)
# Those of Debian 11 to 13 and RHEL 9: each adds a quarter to the archive, and others compile the source in a second.
BYTE_CODE_VERSIONS = (9, 11, 13)
# Isolated, without the site module: the agent needs nothing but the standard library.
INTERPRETER_LINE = b"#!/usr/bin/python3 -ISB\n"
# The earliest time in a zip archive. It is fixed so that builds are reproducible.
TIME = (1980, 1, 1, 0, 0, 0)

# Running an archive loads `runpy` and its imports for good: a tenth of the memory of an idle agent. Therefore the
# interpreter is executed again, with a path into the archive. The name of the file selects the program.
MAIN = """\
import os
import sys

tree = sys.implementation.cache_tag
tree = sys.path[0] + "/" + (tree if tree in {trees!r} else "source")
place = "agent.qemu_ga" if "qemu-ga" in os.path.basename(sys.argv[0]) else "agent"
start = {start!r} % place
os.execv(sys.executable, [sys.executable, "-ISB", "-c", start, tree, *sys.argv[1:]])
"""

# The file names of other interpreters' trees are dropped: they take as much memory as the agent's own code.
START = """\
import sys, zipimport
tree = sys.argv.pop(1)
sys.path.insert(0, tree)
try:
    files = zipimport.zipimporter(tree)._files
    wanted = tree.rpartition("/")[2] + "/"
    for name in [name for name in files if not name.startswith(wanted)]:
        del files[name]
except Exception:
    pass
from phoenix_ga.%s.__main__ import run
run()
"""

# Without docstrings, annotations, what is for type checkers only, the texts of the reference in the declarations of
# commands, and column numbers, to save memory in the guest.
COMPILE = """\
import ast, importlib.util, marshal, os, sys

# The position of the help in the declarations.
HELP = {"Command": 1, "Argument": 2, "GuestCommand": 2}

class Strip(ast.NodeTransformer):
    def visit_FunctionDef(self, node):
        self.generic_visit(node)
        node.returns = None
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_AnnAssign(self, node):
        self.generic_visit(node)
        new = ast.Pass() if node.value is None else ast.Assign([node.target], node.value)
        return ast.copy_location(new, node)

    def visit_If(self, node):
        self.generic_visit(node)
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return node.orelse or ast.copy_location(ast.Pass(), node)
        return node

    def visit_Call(self, node):
        self.generic_visit(node)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in HELP:
            node.keywords = [each for each in node.keywords if each.arg not in ("returns", "errors", "examples")]
            if len(node.args) > HELP[name]:
                node.args[HELP[name]] = ast.Constant("")
        return node

# PEP 552: byte code that is never compared with the source.
UNCHECKED_HASH = b"\\1\\0\\0\\0"
print(sys.implementation.cache_tag)
for line in sys.stdin.read().splitlines():
    source, target, shown = line.split("\\t")
    with open(source, "rb") as file:
        text = file.read()
    tree = ast.fix_missing_locations(Strip().visit(ast.parse(text)))
    code = compile(tree, shown, "exec", dont_inherit=True, optimize=2)
    header = importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + importlib.util.source_hash(text)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "wb") as file:
        file.write(header + marshal.dumps(code))
"""


def modules() -> list[Path]:
    """Return the agent's modules, relative to the source directory."""
    found: list[Path] = []
    for part in PARTS:
        path = SOURCE / part
        found += [path] if path.is_file() else sorted(path.rglob("*.py"))
    return [path.relative_to(SOURCE) for path in found]


def interpreters(versions: Iterable[int] = MINOR_VERSIONS) -> Iterator[str]:
    """Yield the interpreters of this machine that can run the agent, one of each minor version of Python 3."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in versions:
        name = f"python3.{minor}"
        candidates = [sys.executable] if sys.version_info[1] == minor else []
        candidates += [found] if (found := shutil.which(name)) else []
        if os.access(pyenv, os.R_OK | os.X_OK):
            candidates += [str(path) for path in sorted(pyenv.glob(f"3.{minor}.*/bin/{name}"))]
        for candidate in candidates:
            # A version manager may have a shim without the interpreter.
            if subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
                yield candidate
                break


def compile_with(interpreter: str, directory: Path) -> str:
    """Compile all modules into a tree below `directory`; return its name."""
    lines = "".join(f"{SOURCE / path}\t{directory / 'next' / path}c\t{path}\n" for path in modules())
    command = [interpreter, "-sS", "-X", "no_debug_ranges", "-c", COMPILE]
    # The order of set constants depends on the hash seed.
    environment = {"PYTHONHASHSEED": "0"}
    result = subprocess.run(
        command, input=lines, capture_output=True, text=True, check=True, cwd=directory, env=environment
    )
    tree = result.stdout.strip()
    (directory / "next").rename(directory / tree)
    return tree


def without_docstrings(text: str) -> str:
    """Return Python source with its docstrings emptied. Line numbers stay."""
    lines = text.split("\n")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            alone = not lines[first.lineno - 1][: first.col_offset].strip()
            if alone and ast.get_docstring(node, clean=False) is not None and first.end_lineno is not None:
                lines[first.lineno - 1] = " " * first.col_offset + '""'
                lines[first.lineno : first.end_lineno] = [""] * (first.end_lineno - first.lineno)
    return "\n".join(lines)


def build(target: Path) -> list[str]:
    """Write the archive atomically; return the names of its byte code trees."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        trees = [compile_with(interpreter, directory) for interpreter in interpreters(BYTE_CODE_VERSIONS)]
        members = {"__main__.py": MAIN.format(start=START, trees=tuple(trees)).encode()}
        members.update(
            {f"source/{path}": without_docstrings((SOURCE / path).read_text()).encode() for path in modules()}
        )
        members.update(
            {f"{tree}/{path}": (SOURCE / path).read_bytes() for tree in ("source", *trees) for path in DATA}
        )
        native = {f"{NATIVE}/{path.name}": path.read_bytes() for path in build_native.build()}
        for tree in ("source", *trees):
            members.update({f"{tree}/{path}": data for path, data in native.items()})
        for tree in trees:
            members.update({f"{tree}/{path}c": (directory / tree / f"{path}c").read_bytes() for path in modules()})
    unfinished = target.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        file.write(INTERPRETER_LINE)
        with zipfile.ZipFile(file, "w", compresslevel=9) as archive:
            for member, data in members.items():
                archive.writestr(zipfile.ZipInfo(member, TIME), data, zipfile.ZIP_DEFLATED)
    unfinished.chmod(0o755)
    unfinished.replace(target)
    return trees


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the agent as one file that any Python from 3.9 on runs.")
    parser.add_argument("target", nargs="?", type=Path, default=TARGET, help="the file to write (default: in dist)")
    target = parser.parse_args().target
    trees = build(target)
    print(f"{target}: {target.stat().st_size >> 10} KiB, byte code for {', '.join(trees) or 'no interpreter'}")
    if not list(build_native.TARGET.glob("phoenix-wait-*")):
        print("there is no C compiler: without phoenix-wait, an idle agent does not park", file=sys.stderr)


if __name__ == "__main__":
    main()
