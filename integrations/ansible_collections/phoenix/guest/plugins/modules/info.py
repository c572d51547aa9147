#!/usr/bin/python
# Copyright (c) Phoenix guest agent maintainers
# SPDX-License-Identifier: MIT
# This is a virtual module that is entirely implemented as an action plugin and runs on the controller

from __future__ import annotations

DOCUMENTATION = r"""
module: info
short_description: Describe a guest and its agent
description:
  - Asks the agent. The guest needs no Python for modules.
version_added: 1.0.0
author:
  - Phoenix guest agent maintainers (!UNKNOWN)
attributes:
  check_mode:
    description: Can run in check mode and return the same.
    support: full
"""

EXAMPLES = r"""
- name: Ask the agent
  phoenix.guest.info:
  register: answer

- name: Show the version of the agent
  ansible.builtin.debug:
    msg: "{{ answer.guest.version }}"
"""

RETURN = r"""
guest:
  description: The guest.
  returned: success
  type: dict
  sample:
    version: 1.0.0
    frozen: false
    hostname: web1
    kernel: 6.1.0-28-amd64
    machine: x86_64
    os: {id: debian, version_id: "12"}
    boot_time: 1764280000
    load: [0.1, 0.1, 0.1]
    cpus: 2
    memory: {total: 2083880960, available: 1803550720}
    filesystems: [{mountpoint: /, type: ext4, size: 2080000000, available: 1126400000}]
"""
