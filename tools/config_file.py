"""Write packaging/phoenix-ga.conf, the config file of the packages: `python -m tools.config_file [--check]`.

It has each option with its description and its default, as a comment.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path
from typing import Final

from phoenix_ga.agent.options.option import Option
from phoenix_ga.agent.options.table import OPTIONS, SECTION

TARGET: Final = Path(__file__).parent.parent / "packaging" / "phoenix-ga.conf"
_WIDTH: Final = 96
_HEAD: Final = """\
# Configuration of the Phoenix guest agent; see phoenix-ga(8).
#
# Each option is shown with its default. To change one, remove the # before it. Then:
#     systemctl reload phoenix-ga
# Items of lists are separated by commas.
"""


def text() -> str:
    """Return the content of the file."""
    return f"{_HEAD}\n[{SECTION}]\n" + "".join(_entry(option) for option in OPTIONS)


def _entry(option: Option) -> str:
    comment = textwrap.wrap(option.help.replace("may be given several times", "several are allowed"), _WIDTH)
    setting = f"{option.name} = {option.format(option.default)}".rstrip()
    return "\n" + "".join(f"# {line}\n" for line in comment) + f"#{setting}\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the config file of the packages.")
    parser.add_argument("--check", action="store_true", help="Only say whether the file is up to date.")
    if parser.parse_args().check:
        return 0 if TARGET.exists() and TARGET.read_text() == text() else 1
    TARGET.write_text(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
