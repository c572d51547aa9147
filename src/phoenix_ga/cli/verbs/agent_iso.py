"""`phoenixctl agent-iso`"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import click

from phoenix_ga.cli.agent_archive import read_agent
from phoenix_ga.cli.boot_script import installer
from phoenix_ga.cli.verb import verb

_MAKERS = (["xorriso", "-as", "mkisofs"], ["genisoimage"], ["mkisofs"])


@verb(
    short_help="Make an ISO image that installs the agent.",
    epilog="""\b
For guests without a network: insert the image as a CD, and type in the guest, as root:
  mount LABEL=PHOENIX /mnt && sh /mnt/install

\b
The image is made by xorriso, genisoimage or mkisofs.

\b
Example:
  $ phoenixctl agent-iso phoenix.iso
""",
)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--replace-qemu-ga", is_flag=True, help="Take the place of qemu-ga.")
@click.option("--profile", type=click.Choice(["backup", "probes", "read-only"]), help="Restrict the host to this.")
@click.option("--agent", metavar="FILE", type=click.Path(), help="The phoenix-ga.pyz to install.")
def command(file: Path, replace_qemu_ga: bool, profile: str | None, agent: str | None) -> None:
    """Make an ISO image with the agent and an installer."""
    archive = read_agent(agent)
    maker = next((words for words in _MAKERS if shutil.which(words[0])), None)
    if maker is None:
        raise click.UsageError("xorriso is missing on this host; install it.")
    words = ["--replace-qemu-ga"] * replace_qemu_ga + (["--profile", profile] if profile else [])
    # Beside the target, which is replaced at once.
    with tempfile.TemporaryDirectory(dir=file.absolute().parent, prefix=".phoenix-") as name:
        content = Path(name, "content")
        content.mkdir()
        (content / "phoenix-ga.pyz").write_bytes(archive)
        (content / "install").write_bytes(installer(words))
        (content / "install").chmod(0o755)
        image = Path(name, "image")
        options = ["-quiet", "-R", "-J", "-V", "PHOENIX", "-o", str(image), str(content)]
        done = subprocess.run([*maker, *options], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise click.ClickException(f"{maker[0]} failed: {done.stderr.strip()[-500:]}")
        os.replace(image, file)
