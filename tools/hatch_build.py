"""What the Python packages need beyond pyproject.toml; hatchling loads this file."""

from __future__ import annotations

from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Classifiers(MetadataHookInterface):
    """Let hatchling of Debian 12 accept classifiers that are newer."""

    def get_known_classifiers(self) -> list[str]:
        return [f"Programming Language :: Python :: 3.{minor}" for minor in range(12, 20)]

    def update(self, metadata: dict[str, Any]) -> None:
        pass
