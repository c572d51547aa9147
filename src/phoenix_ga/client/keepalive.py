"""Keepalive: find out whether the agent that a connection waits for is still there.

QEMU keeps the host's socket open if the agent ends or the guest is reset, so nothing else tells the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Final

from phoenix_ga.client.errors import ConnectionLostError
from phoenix_ga.wire.messages import Answer, encode_request
from phoenix_ga.wire.units import RESET_BYTE

# Seconds of silence before the agent is asked, and seconds that it has to answer.
KEEPALIVE_INTERVAL: Final = 5.0
KEEPALIVE_TIMEOUT: Final = 10.0

RESTARTED: Final = (
    "the agent no longer knows this connection: it was restarted, "
    "the guest was reset, or another program used the port"
)


class Keepalive:
    """Asks the agent for the number of its session, `get-session`, if it has been silent while it owes something.

    Nothing is asked on an idle connection. A connection that was idle while the agent restarted remains usable: the
    session of the new agent is learned with the next request.

    Attributes:
        session: the number that the agent is expected to return.
    """

    session: object

    def __init__(
        self,
        interval: float | None,
        timeout: float,
        prefix: str,
        is_waiting: Callable[[], bool],
        send: Callable[[bytes], None],
        lose: Callable[[ConnectionLostError], None],
    ) -> None:
        """Make the keepalive of a connection.

        Args:
            interval: seconds of silence before the agent is asked; None: never ask.
            timeout: seconds that it has to answer, from its last sign of life on.
            prefix: of the tags of this connection.
            is_waiting: returns whether the agent owes anything: an answer, or the end of a stream.
            send: sends bytes without waiting; `sent` is to be called when they were written.
            lose: ends the connection.
        """
        self.session = 0
        self._loop = asyncio.get_running_loop()
        self._interval = interval
        self._timeout = timeout
        self._prefix = prefix
        self._numbers = count(1)
        self._is_waiting = is_waiting
        self._send = send
        self._lose = lose
        self._timer: asyncio.TimerHandle | None = None
        # When the agent was last heard, or began to owe something.
        self._heard = self._loop.time()
        # The tag of the request in flight, and when its last byte, or one before it, was written.
        self._tag = ""
        self._written = 0.0
        self._is_written = False
        self._learning = False
        self._overdue = False
        self._stopped = False

    def begin(self) -> bytes:
        """Note that a request will be sent while the agent owes nothing; return bytes to send before it."""
        if self._interval is None or self._stopped:
            return b""
        now = self._loop.time()
        was_idle = now - self._heard >= self._interval
        self._heard = now
        question = b""
        if was_idle:
            question = self.ask()
        if self._timer is None or was_idle:
            self._set_timer(now + (self._timeout if was_idle else self._interval))
        return question

    def ask(self) -> bytes:
        """Return a question to send now, whose answer is taken for the number of this connection."""
        self.learn()
        question = self._question()
        self._is_written = True
        return question

    def learn(self) -> None:
        """Take the next number that the agent returns for that of this connection."""
        self._learning = True

    def heard(self) -> None:
        """Note that bytes have arrived."""
        self._heard = self._loop.time()
        self._overdue = False

    def wrote(self) -> None:
        """Note that bytes were written. If the question waits behind them, it gets more time."""
        if self._tag and not self._is_written:
            self._written = self._loop.time()

    def sent(self) -> None:
        """Note that the question was written."""
        if self._tag:
            self.wrote()
            self._is_written = True

    def receive(self, answer: Answer) -> bool:
        """Return whether an answer is for the keepalive. Raises ConnectionLostError if the session is another one."""
        if not self._tag or answer.tag != self._tag:
            return False
        self._tag = ""
        if self._timer is not None and self._interval is not None:
            self._set_timer(self._heard + self._interval)
        # An error comes from an agent without this command, which is alive as well.
        if answer.error is None:
            if self._learning:
                self._learning = False
                self.session = answer.value
            elif answer.value != self.session:
                raise ConnectionLostError(RESTARTED)
        return True

    def stop(self) -> None:
        """Ask no more. May be called twice."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _question(self) -> bytes:
        self._tag = f"{self._prefix}-alive-{next(self._numbers)}"
        self._written = self._loop.time()
        self._is_written = self._overdue = False
        # A new agent may be inside the rest of a line or a damaged frame, which the byte ends.
        return RESET_BYTE + encode_request("get-session", {}, self._tag)

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._check)

    def _check(self) -> None:
        self._timer = None
        if self._interval is None or not self._is_waiting():
            self._tag = ""
            return
        now = self._loop.time()
        if not self._tag:
            due = self._heard + self._interval
            if now >= due:
                due = now + self._timeout
                self._send(self._question())
        else:
            due = max(self._heard, self._written) + self._timeout
            if now >= due:
                if self._overdue:
                    self._lose(ConnectionLostError(f"the agent has not answered for {now - self._heard:.0f} s"))
                    return
                # This process may have been stopped: let it read first what has arrived meanwhile.
                self._overdue = True
                due = now + self._timeout / 10
        self._set_timer(due)
