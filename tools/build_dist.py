"""Build the Python packages into dist/: `python -m tools.build_dist`, or `make dist`.

Writes the source archive, the wheel, and an SBOM in CycloneDX's form. Two builds of one commit have the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from phoenix_ga import __version__
from tools.matrix import project

ROOT: Final = Path(__file__).parent.parent
DIST: Final = ROOT / "dist"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")


def source_time() -> int:
    """Return SOURCE_DATE_EPOCH if it is set, else the time of the last commit, in seconds since 1970.

    Outside of a repository it is the time of the newest entry in the changelog's file.
    """
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(epoch)
    command = ["git", "log", "-1", "--format=%ct"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode == 0 and result.stdout.strip():
        return int(result.stdout)
    return int((ROOT / "CHANGELOG.md").stat().st_mtime)


def sbom(files: Iterable[Path], version: str = __version__) -> dict[str, Any]:
    """Return the bill of materials of the built files: their digests, and what they need.

    Nothing is bundled. The guest's side needs the standard library only.
    """
    metadata = project()["project"]
    name = metadata["name"]
    needed = [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{library.lower()}",
            "name": library,
            "purl": f"pkg:pypi/{library.lower()}",
            "scope": "optional",
            "description": f"Needed on hosts: {requirement}",
        }
        for requirement in metadata["optional-dependencies"]["host"]
        for library in _NAME.findall(requirement)[:1]
    ]
    built: list[dict[str, Any]] = [
        {
            "type": "file",
            "bom-ref": path.name,
            "name": path.name,
            "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}],
        }
        for path in files
    ]
    reference = f"pkg:pypi/{name}@{version}"
    digests = "".join(component["hashes"][0]["content"] for component in built)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        # The same for the same files.
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, reference + digests)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": reference,
                "name": name,
                "version": version,
                "description": metadata["description"],
                "licenses": [{"license": {"id": metadata["license"]}}],
                "purl": reference,
                "components": built,
            }
        },
        "components": needed,
        "dependencies": [{"ref": reference, "dependsOn": [component["bom-ref"] for component in needed]}],
    }


def build(directory: Path) -> list[Path]:
    """Build the source archive, the wheel and the SBOM into an empty directory; return the files.

    Raises:
        subprocess.CalledProcessError: A program failed. Its output is in the error.
    """
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(source_time())}
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(directory), str(ROOT)]
    subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    files = sorted(directory.iterdir())
    version = files[-1].name.removesuffix(".tar.gz").rpartition("-")[2]
    bill = directory / f"phoenix_guest_agent-{version}.cdx.json"
    bill.write_text(json.dumps(sbom(files, version), indent=1) + "\n")
    return [*files, bill]


def check(files: Iterable[Path]) -> None:
    """Check wheels and source archives as a package index would. Raises subprocess.CalledProcessError."""
    archives = [str(path) for path in files if path.suffix in (".whl", ".gz")]
    command = [sys.executable, "-m", "twine", "check", "--strict", *archives]
    subprocess.run(command, check=True, capture_output=True, text=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the source archive and the wheel into dist/.")
    parser.parse_args()
    DIST.mkdir(exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=DIST) as name:
            files = build(Path(name))
            check(files)
            for path in files:
                print(path.replace(DIST / path.name).relative_to(ROOT))
    except subprocess.CalledProcessError as error:
        print(f"build_dist: {' '.join(error.cmd)} failed:\n{error.stdout}{error.stderr}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
