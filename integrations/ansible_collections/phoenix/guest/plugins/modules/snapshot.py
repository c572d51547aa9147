#!/usr/bin/python
# Copyright (c) Phoenix guest agent maintainers
# SPDX-License-Identifier: MIT
# This is a virtual module that is entirely implemented as an action plugin and runs on the controller

from __future__ import annotations

DOCUMENTATION = r"""
module: snapshot
short_description: Snapshot the disks of guests while they are frozen
description:
  - Freezes the guests, all or none, snapshots all writable disks at one moment, and thaws. Fails, and removes the
    snapshots, unless the filesystems were frozen all the time.
  - Runs on the controller, as C(phoenixctl snapshot). The controller must be the host that runs the guests.
version_added: 1.0.0
author:
  - Phoenix guest agent maintainers (!UNKNOWN)
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without making a snapshot.
    support: full
options:
  kind:
    description:
      - With V(external), new files take all further writes, and the old ones can be copied.
      - With V(internal), snapshots are inside the qcow2 files of the disks.
      - With V(backup), the disks are copied to new files.
    type: str
    required: true
    choices: [external, internal, backup]
  directory:
    description: The directory for new files, and for the manifest NAME.json. Required unless O(kind=internal).
    type: path
  name:
    description:
      - The name of the snapshot. If O(directory) has the manifest of a finished snapshot of this name, nothing is
        done. The default is the date and time, so that each run makes a snapshot.
      - Each snapshot in a directory needs a name of its own, those of several hosts too.
    type: str
    default: ''
  guests:
    description: The guests to freeze together; use it with C(run_once). The default is the host of the task.
    type: list
    elements: str
    default: []
  disks:
    description: Only these disks. The default is all that can be written.
    type: list
    elements: str
    default: []
  bitmap:
    description: With O(kind=backup), copy only what changed since the last backup with the same bitmap.
    type: str
    default: ''
  qmp:
    description: The QMP socket of the guest, if it is not found.
    type: path
    default: ''
  freeze:
    description: Whether to freeze. Without it, snapshots are as after a power failure.
    type: bool
    default: true
  auto_thaw:
    description: Seconds after which the agent thaws automatically; 0 for never. The default is that of the guest.
    type: int
"""

EXAMPLES = r"""
- name: Before an upgrade
  phoenix.guest.snapshot:
    kind: external
    directory: /srv/snapshots
    name: "{{ inventory_hostname }}-before-13"

- name: Two guests at the same moment
  phoenix.guest.snapshot:
    kind: backup
    directory: /srv/backup
    guests: [web1, db1]
  run_once: true
"""

RETURN = r"""
snapshot:
  description: The manifest, as in NAME.json.
  returned: success, except in check mode
  type: dict
  sample:
    name: before-13
    kind: external
    verdict: consistent
    started: 1764280000.5
    ended: 1764280001.0
    guests: {web1: {disks: [], skipped: [], generation: 5f0c7d1b, filesystems: [/], not_frozen: [], blocked: 40}}
"""
