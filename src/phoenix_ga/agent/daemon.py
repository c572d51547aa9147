"""The daemon: it joins the parts, handles signals, and ends in order."""

from __future__ import annotations

import os

from phoenix_ga import __version__
from phoenix_ga.agent.context import Context
from phoenix_ga.agent.core.log import DEBUG, ERR, INFO, NOTICE, WARNING, Log
from phoenix_ga.agent.core.loop import SIGHUP, SIGINT, SIGTERM, Loop
from phoenix_ga.agent.core.workers import Workers
from phoenix_ga.agent.dialects.native.dialect import NATIVE
from phoenix_ga.agent.linux.threads import unblock_agent_signals
from phoenix_ga.agent.operations.handles import Handles
from phoenix_ga.agent.options.option import ConfigError
from phoenix_ga.agent.ports.kinds import make_port
from phoenix_ga.agent.ports.port import Parked
from phoenix_ga.agent.protocol.dispatch import Dispatcher
from phoenix_ga.agent.protocol.scheduler import Scheduler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from phoenix_ga.agent.config import Config
    from phoenix_ga.agent.operations.auto_online import AutoOnline
    from phoenix_ga.agent.ports.port import Port
    from phoenix_ga.agent.protocol.dialect import Dialect


# Seconds in which the thread of the log writes the last line.
_LOG_TIME: Final = 0.1


class Daemon:
    """Serves the ports of a configuration until it is told to stop.

    Args:
        load: Reads the configuration again. Raises ConfigError if it cannot.
        config: The options in effect.
        parked: What this process knew when it parked; None if it starts.
    """

    def __init__(self, load: Callable[[], Config], config: Config, parked: dict[str, Any] | None = None) -> None:
        self._load = load
        self._loop = Loop()
        self._log = Log(config.log_file, config.debug)
        self._workers = Workers(config.max_workers)
        self._handles = Handles(config.max_handles)
        self._context = Context(config, config.make_policy(), self._log, self._handles, self._loop, self._stop_soon)
        self._dispatcher = Dispatcher(self._context, NATIVE, _load_qga)
        self._scheduler = Scheduler(self._dispatcher, self._loop, self._workers)
        self._scheduler.settled = self._settled
        self._context.prepare_to_freeze = self._prepare_to_freeze
        self._parked = parked
        self._ports: dict[str, Port] = {}
        self._auto_online: AutoOnline | None = None
        self._stopping = False
        self._ending = False

    def run(self, ready: Callable[[], None] | None = None) -> int:
        """Serve until a signal or a client stops the agent, and return the exit status.

        Args:
            ready: Called once the ports are served.

        Raises:
            ConfigError: A port can never be served.
        """
        for number, callback in (
            (SIGTERM, self.stop),
            (SIGINT, self.stop),
            (SIGHUP, self._reload),
        ):
            self._loop.on_signal(number, callback)
        if self._parked is not None:
            unblock_agent_signals()
            self._context.restore(self._parked)
        self._dispatcher.load_needed(NATIVE)
        # Before the log starts: its disk may be frozen.
        self._context.recover()
        self._log.start()
        try:
            self._set_ports(self._context.config.port)
        except BaseException:
            self._close_ports()
            raise
        if self._parked is None:
            self._log.write(INFO, f"phoenix-ga {__version__} is up")
            self._tell_restrictions()
        else:
            self._log.write(DEBUG, f"phoenix-ga {__version__} is awake")
        self._parked = None
        self._loop.idle = self._idle
        self._set_auto_online(self._context.config)
        if ready is not None:
            ready()
        self._loop.run()
        return 0

    def _tell_restrictions(self) -> None:
        from phoenix_ga.agent.restrictions import restrictions

        missing = "; ".join(restrictions())
        if missing:
            self._log.write(WARNING, f"restricted: {missing}")

    def stop(self) -> None:
        """Take no more requests, end the streams, finish the running requests, thaw, and end."""
        if self._stopping:
            return
        # No more frames will be read.
        self._end_streams()
        self._stopping = True
        self._scheduler.stopping = True
        self._log.write(INFO, "stopping")
        self._loop.call_later(self._context.config.stop_timeout, self._end)
        self._settled()

    def _set_auto_online(self, config: Config) -> None:
        """Watch for processors and memory that are added, or do so no more; then the agent may park."""
        if config.auto_online and self._auto_online is None:
            # Few agents need it.
            from phoenix_ga.agent.operations.auto_online import AutoOnline

            try:
                self._auto_online = AutoOnline(self._loop, self._workers.submit, self._log)
            except OSError as error:
                self._log.write(WARNING, f"auto-online does not work: {error.strerror}")
        elif not config.auto_online and self._auto_online is not None:
            self._auto_online.close()
            self._auto_online = None
        self._loop.idle_time = 0.0 if self._auto_online is not None else config.park_after

    def _idle(self) -> None:
        if self._park_ports() is None:
            return
        self._log.write(DEBUG, "parking")
        if self._log.idle_threads is None:
            self._loop.call_later(_LOG_TIME, self._park)
        else:
            self._park()

    def _park_ports(self) -> dict[str, Parked] | None:
        """Return what each port needs after parking, or None if something would be lost."""
        if self._stopping or self._scheduler.running or self._context.in_use:
            return None
        ports = {name: port.park() for name, port in self._ports.items()}
        parked = {name: port for name, port in ports.items() if port is not None}
        workers, writers = self._workers.idle_threads, self._log.idle_threads
        if len(parked) < len(ports) or workers is None or writers is None:
            return None
        from phoenix_ga.agent.parking import is_alone

        return parked if is_alone(workers + writers) else None

    def _park(self) -> None:
        """Become the waiter, if nothing would be lost."""
        ports = self._park_ports()
        if ports is None:
            return
        from phoenix_ga.agent.parking import park

        state = {
            **self._context.park(),
            "config": vars(self._context.config),
            "ports": {name: [port.fd, port.hung_up, port.state] for name, port in ports.items()},
        }
        try:
            park(self._loop, ports.values(), state)
        except OSError as error:
            self._loop.idle_time = 0.0
            self._log.write(NOTICE, f"stays awake when idle: {error.strerror}")

    def _prepare_to_freeze(self) -> None:
        """Have the modules and a thread for a thaw, in whichever dialect it comes and whatever is exhausted then."""
        for dialect in (NATIVE, self._dispatcher.load_qga()):
            self._dispatcher.load_before_freeze(dialect)
        try:
            self._workers.reserve()
        except OSError as error:
            self._log.write(WARNING, f"no thread for a thaw can be kept: {error.strerror}")

    def _stop_soon(self) -> None:
        # After the answer that says so.
        self._loop.call_soon(self.stop)

    def _settled(self) -> None:
        if self._stopping and not self._scheduler.running:
            # Requests that were running may have opened some since.
            self._end_streams()
            if not any(port.busy for port in self._ports.values()):
                self._end()

    def _end_streams(self) -> None:
        # Behind QEMU nothing else tells the clients: the host's socket stays open.
        for port in self._ports.values():
            port.end_streams()

    def _end(self) -> None:
        if self._ending:
            return
        self._ending = True
        if not self._context.must_thaw:
            self._close()
            return
        try:
            self._workers.submit_urgent(self._thaw_and_end)
        except OSError:
            # No thread is left, and the loop has nothing else to do.
            self._thaw_and_end()

    def _thaw_and_end(self) -> None:
        try:
            self._context.freezer.thaw()
        except OSError as error:
            self._log.write(ERR, f"cannot thaw: {error}")
        finally:
            self._loop.call_from_thread(self._close)

    def _close(self) -> None:
        self._close_ports()
        self._log.close()
        self._loop.stop()

    def _close_ports(self) -> None:
        for port in self._ports.values():
            port.close()
        self._ports.clear()

    def _set_ports(self, names: tuple[str, ...]) -> None:
        """Serve these ports and no others.

        Raises:
            ConfigError: A port can never be served; all others are.
        """
        problem = ""
        parked = {} if self._parked is None else self._parked["ports"]
        for name in names:
            if name not in self._ports:
                try:
                    port = make_port(name, self._scheduler, self._settled)
                    port.start(self._adopt(*parked[name]) if name in parked else None)
                except (OSError, ValueError) as error:
                    problem = problem or (
                        f"{name}: {error.strerror or error}" if isinstance(error, OSError) else str(error)
                    )
                else:
                    self._ports[name] = port
        if problem:
            # A port that was to go stays, rather than none at all.
            raise ConfigError(problem)
        for name in set(self._ports) - set(names):
            self._ports.pop(name).close()

    def _adopt(self, fd: int, hung_up: bool, state: dict[str, Any]) -> Parked:
        os.set_inheritable(fd, False)
        return Parked(fd, state, hung_up)

    def _reload(self) -> None:
        def read() -> None:
            try:
                config = self._load()
            except ConfigError as error:
                self._log.write(ERR, f"the configuration stays as it was: {error}")
                return
            self._loop.call_from_thread(self._apply, config)

        # The file may be on a slow disk.
        try:
            self._workers.submit_urgent(read)
        except OSError as error:
            self._log.write(ERR, f"the configuration stays as it was: {error.strerror}")

    def _apply(self, config: Config) -> None:
        old = self._context.config
        self._context.config = config
        self._context.policy = config.make_policy()
        self._log.debug = config.debug
        self._log.reopen()
        self._set_auto_online(config)
        self._handles.limit = config.max_handles
        self._workers.limit = config.max_workers
        for name in ("log_file", "run_directory"):
            if getattr(config, name) != getattr(old, name):
                self._log.write(WARNING, f"{name.replace('_', '-')} changes when the agent is started again")
        try:
            self._set_ports(config.port)
        except ConfigError as error:
            self._log.write(ERR, f"a port can't be served: {error}")
        self._log.write(NOTICE, "the configuration was read again")


def _load_qga() -> Dialect:
    from phoenix_ga.agent.dialects.qga.dialect import QGA

    return QGA
