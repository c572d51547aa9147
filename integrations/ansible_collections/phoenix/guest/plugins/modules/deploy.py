#!/usr/bin/python
# Copyright (c) Phoenix guest agent maintainers
# SPDX-License-Identifier: MIT
# This is a virtual module that is entirely implemented as an action plugin and runs on the controller

from __future__ import annotations

DOCUMENTATION = r"""
module: deploy
short_description: Install the agent in a guest that has a stock qemu-ga
description:
  - Copies the agent through the port of qemu-ga, whose place it takes, as C(phoenixctl deploy). The guest needs no
    network. An older version of the agent is replaced in the same way.
  - If the agent cannot be installed, or the host does not reach it, the guest is as it was.
version_added: 1.0.0
author:
  - Phoenix guest agent maintainers (!UNKNOWN)
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying the guest.
    support: full
options:
  agent:
    description: The phoenix-ga.pyz on the controller to install. The default is that of the package C(phoenixctl).
    type: path
  profile:
    description: Allow the host only what this needs, in a sandbox. It takes effect when the agent is installed.
    type: str
    choices: [backup, probes, read-only]
  force:
    description: Install the agent even if the guest has this version.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Give all guests with qemu-ga the agent
  hosts: dialect_qemu_ga
  gather_facts: false
  tasks:
    - name: Install
      phoenix.guest.deploy:
"""

RETURN = r"""
version:
  description: The version of the agent.
  returned: success
  type: str
  sample: 1.0.0
previous_version:
  description: The version of the agent that was replaced.
  returned: when the guest had the agent
  type: str
  sample: 0.9.0
"""
