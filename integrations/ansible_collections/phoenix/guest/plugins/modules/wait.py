#!/usr/bin/python
# Copyright (c) Phoenix guest agent maintainers
# SPDX-License-Identifier: MIT
# This is a virtual module that is entirely implemented as an action plugin and runs on the controller

from __future__ import annotations

DOCUMENTATION = r"""
module: wait
short_description: Wait until something is the case in a guest
description:
  - Waits as C(phoenixctl wait) does, for an agent that does not answer yet, and through reboots of the guest.
  - The kernel of the guest tells when to look, so waiting takes no CPU time in it.
version_added: 1.0.0
author:
  - Phoenix guest agent maintainers (!UNKNOWN)
attributes:
  check_mode:
    description: Is skipped in check mode, because what is waited for may never begin.
    support: partial
    details: Is skipped.
options:
  conditions:
    description:
      - What to wait for, as C(phoenixctl wait --help) lists it, such as C(boot-complete), C(address=4), C(port=22),
        C(path=/run/ready), C(unit=nginx) or C(exec=COMMAND).
      - By default, until the agent answers.
    type: list
    elements: str
    default: [agent]
  any:
    description: Wait for the first of the conditions only.
    type: bool
    default: false
  timeout:
    description: Time limit for all of it, in seconds.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Wait until the guest has booted, and has an address
  phoenix.guest.wait:
    conditions: [boot-complete, address=4]
    timeout: 120
  register: waited

- name: Show the address
  ansible.builtin.debug:
    msg: "{{ waited.found['address=4'] }}"
"""

RETURN = r"""
found:
  description: What was found for each condition.
  returned: success
  type: dict
  sample: {boot-complete: running, address=4: 192.0.2.7}
"""
