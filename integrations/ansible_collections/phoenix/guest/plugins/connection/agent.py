# Copyright (c) Phoenix guest agent maintainers
# SPDX-License-Identifier: MIT
"""Tasks in a guest, through its agent."""

from __future__ import annotations

DOCUMENTATION = """
name: agent
short_description: Run tasks in a guest through the Phoenix guest agent
description:
  - Run modules and transfer files over the port of a virtual machine. The guest needs no network and no ssh.
  - Without a hub, a port serves one client at a time. With C(phoenix-hub), others can use the guest meanwhile.
author:
  - Phoenix guest agent maintainers (!UNKNOWN)
version_added: 1.0.0
requirements:
  - Python package phoenix-guest-agent[host] on the controller
options:
  remote_addr:
    description:
      - The guest, by a name that C(phoenixctl guests) lists, or an endpoint such as C(unix:/run/web1.sock).
    default: inventory_hostname
    type: str
    vars:
      - name: inventory_hostname
      - name: ansible_host
      - name: ansible_phoenix_guest
  remote_user:
    description:
      - The user that runs the modules. The default is the user of the agent, which is usually root.
      - Another user transfers files with its own rights.
    type: str
    vars:
      - name: ansible_user
      - name: ansible_phoenix_user
    env:
      - name: ANSIBLE_REMOTE_USER
    ini:
      - section: defaults
        key: remote_user
    keyword:
      - name: remote_user
  working_directory:
    description:
      - The directory in which the modules run. The default is the home directory of the user.
    type: str
    default: ''
    vars:
      - name: ansible_phoenix_working_directory
  timeout:
    description:
      - Time limit in seconds for a connection, and for an answer of the agent. Tasks may run for longer.
    type: int
    default: 30
    vars:
      - name: ansible_phoenix_timeout
    env:
      - name: ANSIBLE_PHOENIX_TIMEOUT
    ini:
      - section: phoenix
        key: timeout
  direct:
    description:
      - Use the port of the guest itself, even if a hub offers it.
    type: bool
    default: false
    vars:
      - name: ansible_phoenix_direct
  pipelining:
    description:
      - Send modules over the standard input of Python instead of copying them to the guest first.
    type: bool
    default: true
    vars:
      - name: ansible_pipelining
      - name: ansible_phoenix_pipelining
    env:
      - name: ANSIBLE_PHOENIX_PIPELINING
    ini:
      - section: phoenix
        key: pipelining
"""

import asyncio
import os
import shlex

from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible.plugins.connection import ConnectionBase
from ansible.utils.display import Display
from ansible_collections.phoenix.guest.plugins.plugin_utils.library import client, require_library

display = Display()

_SHELL = "/bin/sh"
# The longest output of a task, for stdout and stderr each, in bytes.
_OUTPUT_MAX = 256 * 1024 * 1024
_PIECE = 1024 * 1024
# Seconds for a become plugin to ask for the password.
_PROMPT_TIMEOUT = 30


class Connection(ConnectionBase):
    """A connection to the agent of a guest."""

    transport = "phoenix.guest.agent"
    has_pipelining = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._loop = None
        self._context = None
        self._guest = None

    def _connect(self):
        if self._connected:
            return self
        require_library()
        name, timeout = self.get_option("remote_addr"), self.get_option("timeout")
        display.vvv("CONNECT TO THE AGENT", host=name)
        self._loop = asyncio.new_event_loop()
        self._context = client.connect(
            name, timeout=timeout, connect_timeout=timeout, direct=self.get_option("direct")
        )
        try:
            self._guest = self._loop.run_until_complete(self._context.__aenter__())
        except (client.PhoenixError, OSError) as error:
            self._loop.close()
            raise AnsibleConnectionFailure(f"{name}: {error}") from None
        self._connected = True
        return self

    def close(self):
        if self._connected:
            self._connected = False
            try:
                self._loop.run_until_complete(self._context.__aexit__(None, None, None))
            finally:
                self._loop.close()

    def reset(self):
        self.close()
        self._connect()

    def with_guest(self, work):
        """Return the result of `work`, a coroutine function of the guest, for action plugins."""
        self._connect()
        return self._run(work(self._guest))

    def exec_command(self, cmd, in_data=None, sudoable=True):
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        self._connect()
        display.vvv(f"EXEC {to_text(cmd)}", host=self.get_option("remote_addr"))
        asks = self.become if self.become and sudoable and self.become.expect_prompt() else None
        return self._run(self._exec([_SHELL, "-c", to_text(cmd, errors="surrogateescape")], in_data or b"", asks))

    def put_file(self, in_path, out_path):
        super().put_file(in_path, out_path)
        self._connect()
        display.vvv(f"PUT {in_path} TO {out_path}", host=self.get_option("remote_addr"))
        if not os.path.exists(to_bytes(in_path, errors="surrogate_or_strict")):
            raise AnsibleFileNotFound(f"{in_path} does not exist on the controller")
        if self._user:
            self._run(self._put_as_user(in_path, out_path))
        else:
            self._run(self._guest.put(in_path, out_path))

    def fetch_file(self, in_path, out_path):
        super().fetch_file(in_path, out_path)
        self._connect()
        display.vvv(f"FETCH {in_path} TO {out_path}", host=self.get_option("remote_addr"))
        if self._user:
            self._run(self._fetch_as_user(in_path, out_path))
        else:
            self._run(self._guest.get(in_path, out_path))

    @property
    def _user(self):
        return self.get_option("remote_user") or ""

    def _run(self, work):
        """Run a coroutine; turn errors into those of Ansible."""
        name = self.get_option("remote_addr")
        try:
            return self._loop.run_until_complete(work)
        except client.CommandError as error:
            if isinstance(error, FileNotFoundError):
                raise AnsibleFileNotFound(f"{name}: {error}") from None
            raise AnsibleError(f"{name}: {error}") from None
        except client.PhoenixError as error:
            raise AnsibleConnectionFailure(f"{name}: {error}") from None
        except OSError as error:
            raise AnsibleError(f"controller: {error}") from None

    def _program(self, argv):
        return self._guest.exec(argv, user=self._user, cwd=self.get_option("working_directory"))

    async def _exec(self, argv, data, asks):
        async with self._program(argv) as process:
            before = (b"", b"")
            if asks is not None:
                before = await self._log_in(process, asks)
            completed = await process.communicate(data, _OUTPUT_MAX)
        status = completed.returncode
        return 128 - status if status < 0 else status, before[0] + completed.stdout, before[1] + completed.stderr

    async def _log_in(self, process, become):
        """Answer the prompt of a become plugin; return what stdout and stderr had after it."""
        streams = [process.stdout, process.stderr]
        received = [b"", b""]
        asked = False
        reading = {asyncio.ensure_future(stream.read(_PIECE)): number for number, stream in enumerate(streams)}
        try:
            while reading:
                done, _pending = await asyncio.wait(
                    reading, timeout=_PROMPT_TIMEOUT, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    raise AnsibleConnectionFailure("the prompt for the become password did not appear")
                for task in done:
                    number, data = reading.pop(task), task.result()
                    received[number] += data
                    if become.check_success(received[number]):
                        _before, _mark, after = received[number].partition(to_bytes(become.success))
                        received[number] = after.lstrip(b"\r\n")
                        return tuple(received)
                    if become.check_incorrect_password(received[number]):
                        raise AnsibleError("the become password is wrong")
                    if become.check_missing_password(received[number]):
                        raise AnsibleError("the become password is missing")
                    if not asked and become.check_password_prompt(received[number]):
                        asked = True
                        received[number] = b""
                        password = become.get_option("become_pass", playcontext=self._play_context)
                        await process.stdin.write(to_bytes(password or "") + b"\n")
                    if data:
                        reading[asyncio.ensure_future(streams[number].read(_PIECE))] = number
            return tuple(received)
        finally:
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)

    async def _put_as_user(self, in_path, out_path):
        # As root, it would follow what the user makes of the path.
        async with self._program([_SHELL, "-c", f"exec cat > {shlex.quote(out_path)}"]) as process:
            with open(in_path, "rb") as file:
                while data := file.read(_PIECE):
                    await process.stdin.write(data)
            self._check(await process.communicate(), out_path)

    async def _fetch_as_user(self, in_path, out_path):
        part = f"{out_path}.part"
        try:
            async with self._program(["cat", "--", in_path]) as process:
                with open(part, "wb") as file:
                    async for data in process.stdout:
                        file.write(data)
                self._check(await process.communicate(), in_path)
            os.replace(part, out_path)
        finally:
            if os.path.exists(part):
                os.unlink(part)

    @staticmethod
    def _check(completed, path):
        if completed.returncode:
            text = to_text(completed.stderr[-1000:]).strip()
            if "No such file" in text:
                raise AnsibleFileNotFound(f"{path}: {text}")
            raise AnsibleError(f"{path}: {text or completed.returncode}")
