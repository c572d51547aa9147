#!/usr/bin/python
# Copyright (c) Phoenix guest agent maintainers
# SPDX-License-Identifier: MIT
# This is a virtual module that is entirely implemented as an action plugin and runs on the controller

from __future__ import annotations

DOCUMENTATION = r"""
module: freeze
short_description: Freeze or thaw the filesystems of a guest
description:
  - Asks the agent. While filesystems are frozen, no other module can run in the guest; tasks for other hosts can.
version_added: 1.0.0
author:
  - Phoenix guest agent maintainers (!UNKNOWN)
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying the guest.
    support: full
options:
  state:
    description: Whether filesystems are to be frozen.
    type: str
    required: true
    choices: [frozen, thawed]
  auto_thaw:
    description: Seconds after which the agent thaws automatically; 0 for never, -1 as configured in the guest.
    type: int
    default: -1
  mountpoints:
    description: Freeze only the filesystems that are mounted at these paths. The default is all.
    type: list
    elements: str
    default: []
  generation:
    description:
      - The generation of the freeze to thaw. The task fails unless this freeze held until now.
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: Freeze
  phoenix.guest.freeze:
    state: frozen
    auto_thaw: 60
  register: frozen

- name: Take the snapshot
  ansible.builtin.command: take-snapshot web1
  delegate_to: localhost

- name: Thaw, and fail unless the filesystems stayed frozen
  phoenix.guest.freeze:
    state: thawed
    generation: "{{ frozen.generation }}"
"""

RETURN = r"""
generation:
  description: Identifies the freeze.
  returned: success
  type: str
  sample: 5f0c7d1b2a9e4c63
filesystems:
  description: The mount points of what was frozen.
  returned: when filesystems were frozen
  type: list
  elements: str
  sample: [/]
skipped:
  description: The filesystems that were left out, and why.
  returned: when filesystems were frozen
  type: list
  elements: dict
  sample: [{mountpoint: /mnt, reason: unsupported}]
"""
