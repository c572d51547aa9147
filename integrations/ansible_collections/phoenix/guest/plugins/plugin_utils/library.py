# Copyright (c) Phoenix guest agent maintainers
# SPDX-License-Identifier: MIT
"""The client library of Phoenix, which may be missing."""

from __future__ import annotations

from ansible.errors import AnsibleError

try:
    from phoenix_ga import __version__, client
    from phoenix_ga.client import discovery, probe

    MISSING = None
except ImportError as error:
    __version__ = client = discovery = probe = None
    MISSING = error


__all__ = ["__version__", "client", "discovery", "probe", "require_library"]


def require_library():
    """Raise AnsibleError if the library cannot be imported."""
    if MISSING is not None:
        raise AnsibleError(f"install phoenix-guest-agent[host] for the Python that runs Ansible: {MISSING}")
