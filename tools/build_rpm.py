"""Build the RPM packages into dist/: `python -m tools.build_rpm`, or `make rpm`; rpmlint checks what is built."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from phoenix_ga import __version__
from tools import build_dist
from tools.build_deb import MAINTAINER, run, sortable

ROOT: Final = Path(__file__).parent.parent
DIST: Final = ROOT / "dist"
WORKSPACE: Final = ROOT / "build" / "rpm"
_RPM: Final = ROOT / "packaging" / "rpm"


def changelog(version: str, moment: int) -> str:
    """Return the %changelog section."""
    date = time.strftime("%a %b %d %Y", time.gmtime(moment))
    entry = f"* {date} {MAINTAINER} - {version}-1\n- Version {__version__}; CHANGELOG.md lists the changes.\n"
    return f"\n%changelog\n{entry}"


def build(workspace: Path) -> list[Path]:
    """Build the source and binary packages in an empty directory, and check them; return the files.

    Raises:
        subprocess.CalledProcessError: A program failed. Its output is in the error.
    """
    version, moment = sortable(__version__), build_dist.source_time()
    sources = workspace / "SOURCES"
    sources.mkdir(parents=True)
    (source,) = (path for path in build_dist.build(sources) if path.name.endswith(".tar.gz"))
    specification = workspace / "phoenix-guest-agent.spec"
    macros = {"phoenix_version": version, "phoenix_upstream": __version__, "phoenix_source": source.name}
    # In the specification itself, so that the source package can be built again.
    text = "".join(f"%global {name} {value}\n" for name, value in macros.items())
    text += (_RPM / "phoenix-guest-agent.spec").read_text() + changelog(version, moment)
    specification.write_text(text)
    environment = {
        **os.environ,
        "SOURCE_DATE_EPOCH": str(moment),
        # Not those of the virtual environment.
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }
    settings = {
        "_topdir": str(workspace),
        "_buildhost": "localhost",
        "packager": MAINTAINER,
        "use_source_date_epoch_as_buildtime": "1",
        "clamp_mtime_to_source_date_epoch": "1",
    }
    options = [word for name, value in settings.items() for word in ("--define", f"{name} {value}")]
    # rpm does not know the packages of another distribution.
    run(["rpmbuild", "-ba", "--nodeps", *options, str(specification)], workspace, environment)
    files = sorted(workspace.glob("*RPMS/**/*.rpm"))
    # rpmlint exits with 0 after warnings.
    checked = run(["rpmlint", "--rpmlintrc", str(_RPM / "rpmlintrc"), *map(str, files)], workspace, environment)
    if " 0 errors, 0 warnings" not in checked:
        raise subprocess.CalledProcessError(1, "rpmlint", checked)
    return files


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the RPM packages into dist/.")
    parser.parse_args()
    shutil.rmtree(WORKSPACE, ignore_errors=True)
    DIST.mkdir(exist_ok=True)
    try:
        for path in build(WORKSPACE):
            print(shutil.move(path, DIST / path.name))
    except subprocess.CalledProcessError as error:
        print(f"build_rpm: {error.cmd} failed:\n{error.stdout}{error.stderr or ''}", file=sys.stderr)
        return 1
    shutil.rmtree(WORKSPACE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
