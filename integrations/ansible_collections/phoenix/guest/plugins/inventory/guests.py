# Copyright (c) Phoenix guest agent maintainers
# SPDX-License-Identifier: MIT
"""The guests that phoenixctl knows."""

from __future__ import annotations

DOCUMENTATION = """
name: guests
short_description: Guests of this host and of other hosts that have the Phoenix guest agent
description:
  - Lists the guests that C(phoenixctl guests) finds, and asks each for its state.
  - Guests are in the groups C(host_HOST), C(os_ID), C(state_STATE) and C(dialect_DIALECT).
  - The configuration file must end in C(phoenix.yml) or C(phoenix.yaml).
author:
  - Phoenix guest agent maintainers (!UNKNOWN)
version_added: 1.0.0
requirements:
  - Python package phoenix-guest-agent[host] on the controller
extends_documentation_fragment:
  - constructed
  - inventory_cache
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [phoenix.guest.guests]
  guests:
    description: The guests, as GUEST of phoenixctl. The default is all of this host and of the configured others.
    type: list
    elements: str
    default: []
  probe:
    description: Ask each guest for its state. Without it, there are only groups by host.
    type: bool
    default: true
  timeout:
    description: Time limit for each guest, in seconds.
    type: float
    default: 3.0
"""

EXAMPLES = """
# phoenix.yml
plugin: phoenix.guest.guests
guests: ["web*", "@databases"]
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: /tmp/phoenix-inventory
keyed_groups:
  - key: phoenix_source
    prefix: source
"""

import asyncio
import re
import socket

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.unsafe_proxy import wrap_var
from ansible_collections.phoenix.guest.plugins.plugin_utils.library import client, discovery, probe, require_library

_ID = re.compile(r"[a-z0-9._-]{1,32}")


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """The guests as hosts of Ansible."""

    NAME = "phoenix.guest.guests"

    def verify_file(self, path):
        return super().verify_file(path) and path.endswith(("phoenix.yml", "phoenix.yaml"))

    def parse(self, inventory, loader, path, cache=True):
        super().parse(inventory, loader, path, cache)
        require_library()
        self._read_config_data(path)
        key = self.get_cache_key(path)
        use_cache = self.get_option("cache") and cache
        found = self._cache.get(key) if use_cache else None
        if found is None:
            found = self._find()
            if self.get_option("cache"):
                self._cache[key] = found
        for name, variables in found.items():
            self._add(name, variables)

    def _find(self):
        words = self.get_option("guests")
        try:
            if words:
                known = discovery.select_guests(",".join(words))
            else:
                known = [*discovery.known_guests(), *discovery.remote_guests()]
        except client.PhoenixError as error:
            raise AnsibleParserError(f"phoenix.guest.guests: {error}") from None
        for guest in known:
            if guest.error:
                self.display.warning(f"phoenix.guest.guests: {guest.source}: {guest.error}")
        known = [guest for guest in known if not guest.error]
        states = asyncio.run(self._probe(known)) if self.get_option("probe") else {}
        return {guest.name: _variables(guest, states.get(guest.name)) for guest in known}

    async def _probe(self, known):
        return {state.guest.name: state async for state in probe.probe_guests(known, self.get_option("timeout"))}

    def _add(self, name, variables):
        self.inventory.add_host(name)
        self.inventory.set_variable(name, "ansible_connection", "phoenix.guest.agent")
        self.inventory.set_variable(name, "ansible_host", name)
        # What a guest says is no template.
        variables = {key: wrap_var(value) for key, value in variables.items()}
        for key, value in variables.items():
            self.inventory.set_variable(name, key, value)
        for prefix in ("host", "os", "state", "dialect"):
            value = variables.get(f"phoenix_{prefix}")
            if value:
                group = self.inventory.add_group(self._sanitize_group_name(f"{prefix}_{value}"))
                self.inventory.add_child(group, name)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)


def _variables(guest, state):
    is_remote = guest.name.startswith(f"{guest.source}/")
    variables = {
        "phoenix_host": guest.source if is_remote else socket.gethostname(),
        "phoenix_source": "ssh" if is_remote else guest.source,
    }
    if state is not None:
        variables.update(
            phoenix_state="frozen" if state.frozen else state.state,
            phoenix_dialect=state.dialect,
            phoenix_version=state.version,
            phoenix_os=state.os_id if _ID.fullmatch(state.os_id) else "",
            phoenix_system=state.system,
        )
    return variables
