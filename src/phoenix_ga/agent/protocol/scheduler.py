"""The scheduler decides when calls run: order, limits, and a queue for each file handle.

Calls with a tag run in parallel. Calls without one run one after the other, for each client. Calls on one
file handle run in the order of their arrival, even if they come from different clients.
"""

from __future__ import annotations

from errno import EAGAIN

from phoenix_ga.agent.protocol.call import Call, CommandError
from phoenix_ga.wire.messages import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from typing import Any, Final

    from phoenix_ga.agent.core.loop import Loop
    from phoenix_ga.agent.core.workers import Workers
    from phoenix_ga.agent.protocol.call import Opened
    from phoenix_ga.agent.protocol.dialect import Pieces
    from phoenix_ga.agent.protocol.dispatch import Dispatcher
    from phoenix_ga.agent.protocol.session import Session
else:
    # The module `collections` would load much that is not needed here.
    from _collections import deque

# Memory that unanswered requests may take, for all clients and for one, in bytes.
_TOTAL_COST_MAX: Final = 64 * 1024 * 1024
_CLIENT_COST_MAX: Final = 16 * 1024 * 1024
# Bytes of unread output that stop more requests from being run.
OUTPUT_HIGH: Final = 1024 * 1024


class Scheduler:
    """State that the calls of all clients share: number of running commands, memory, and handle queues.

    Attributes:
        unanswered: Memory that the unanswered requests of all clients take, in bytes.
        running: Number of admitted calls that are not finished.
        finished: Number of calls finished so far.
        stuck: No call finished for a long time while `unanswered` was at its limit.
        stopping: The agent is about to end; no more requests are read.
        settled: Called whenever `running` drops to 0.
    """

    def __init__(self, dispatcher: Dispatcher, loop: Loop, workers: Workers) -> None:
        self.dispatcher = dispatcher
        self.loop = loop
        self.workers = workers
        # Per handle, the unfinished calls in order of arrival.
        self._handle_queues: dict[Any, deque[Call]] = {}
        # Unfinished calls that a client or a thaw can revoke.
        self._revocable: dict[Call, ClientQueue] = {}
        self._waiting_for_room: list[Callable[[], None]] = []
        # Number of running calls of each command, and the clients with calls that wait for others to finish.
        self._running_of: dict[str, int] = {}
        self._waiting_for_share: dict[ClientQueue, None] = {}
        self.unanswered = 0
        self.running = 0
        self.finished = 0
        self.stuck = False
        self.stopping = False
        self.settled: Callable[[], None] = lambda: None

    def count(self, cost: int) -> None:
        """Add to the memory that unanswered requests take."""
        self.unanswered += cost
        if self.unanswered < _TOTAL_COST_MAX:
            self.stuck = False
            if self._waiting_for_room:
                waiting, self._waiting_for_room = self._waiting_for_room, []
                for proceed in waiting:
                    self.loop.call_soon(proceed)

    def wait_for_room(self, proceed: Callable[[], None]) -> None:
        """Call `proceed` once unanswered requests take less memory than their limit."""
        if proceed not in self._waiting_for_room:
            self._waiting_for_room.append(proceed)

    def has_queue(self, call: Call) -> bool:
        """Return whether unfinished calls work on the call's handle."""
        return call.handle in self._handle_queues

    def enqueue(self, call: Call) -> None:
        """Append a call to the queue of its handle, until `dequeue`."""
        if call.handle is not None:
            self._handle_queues.setdefault(call.handle, deque()).append(call)

    def when_head(self, call: Call, run: Callable[[], None]) -> None:
        """Call `run` once the call is first in the queue of its handle, which may be now."""
        if call.handle is None or self._handle_queues[call.handle][0] is call:
            run()
        else:
            call.run_at_head = run

    def dequeue(self, call: Call) -> None:
        """Remove a call from the queue of its handle, so that the next one can run."""
        if call.handle is None:
            return
        queue = self._handle_queues[call.handle]
        was_head = queue[0] is call
        queue.remove(call)
        if not queue:
            del self._handle_queues[call.handle]
        elif was_head and queue[0].run_at_head is not None:
            queue[0].run_at_head()

    def arrived(self, call: Call, queue: ClientQueue) -> None:
        """Note a call of a client if it can be revoked."""
        if call.command is not None and call.command.revocable:
            self._revocable[call] = queue

    def revoke(self, queue: ClientQueue, tag: str) -> None:
        """Revoke what has arrived and is not finished; only a client's call with this tag, unless it is empty."""
        for call, owner in self._revocable.items():
            if not tag or (owner is queue and call.tag == tag):
                call.revoked = True

    def finished_with(self, call: Call) -> None:
        """Forget a call that was noted by `arrived`."""
        self._revocable.pop(call, None)

    def revoke_all_of(self, queue: ClientQueue) -> None:
        """Revoke the revocable calls of a client that has left."""
        for call, owner in self._revocable.items():
            if owner is queue:
                call.revoked = True

    def has_share(self, call: Call, queue: ClientQueue) -> bool:
        """Return whether a worker may run the call now; if not, `queue.release` is called when it may.

        One command gets three quarters of the workers, so that others find one even if all its calls are stuck.
        """
        assert call.command is not None
        limit = self.dispatcher.context.config.max_workers
        if self._running_of.get(call.command.name, 0) < max(1, limit * 3 // 4):
            return True
        self._waiting_for_share[queue] = None
        return False

    def admit(self, call: Call) -> None:
        """Count a call that is to run on a worker.

        Raises:
            CommandError: EAGAIN; too many commands are running.
        """
        assert call.command is not None
        limit = self.dispatcher.context.config.max_commands
        if self.running >= limit and not call.command.urgent:
            raise CommandError(f"{limit} commands are under way, which is the limit; wait for answers", EAGAIN)
        self.running += 1

    def withdraw(self, call: Call) -> None:
        """Forget an admitted call that has not run."""
        self.running -= 1
        self.dequeue(call)
        self.loop.call_soon(self._check_settled)

    def launch(self, call: Call, finished: Callable[[Pieces | Opened], None]) -> None:
        """Run an admitted call on a worker, then call `finished` with the outcome on the loop."""
        assert call.command is not None
        dispatcher, loop = self.dispatcher, self.loop
        name = call.command.name
        self._running_of[name] = self._running_of.get(name, 0) + 1

        def job() -> None:
            loop.call_from_thread(done, dispatcher.run(call))

        def done(outcome: Pieces | Opened) -> None:
            self.running -= 1
            self.finished += 1
            self.stuck = False
            finished(outcome)
            self.dequeue(call)
            self._running_of[name] -= 1
            waiting, self._waiting_for_share = self._waiting_for_share, {}
            for queue in waiting:
                queue.release()
            self._check_settled()

        submit = self.workers.submit_urgent if call.command.urgent else self.workers.submit
        try:
            submit(job)
        except OSError as error:
            # Later: the session does not expect the outcome before this returns.
            loop.call_soon(done, dispatcher.refuse(call, error))

    def _check_settled(self) -> None:
        if self.running == 0:
            self.settled()


class ClientQueue:
    """The unanswered calls of one client.

    Attributes:
        finished: Number of its calls that finished.
        stuck: None finished for a long time while this client alone was at its limit.
        turn_taken: An ordered call is running.
        waiting: Ordered calls that wait for their turn.
        held: Calls that wait until the client has read answers, or until others finish.
    """

    def __init__(self, scheduler: Scheduler, session: Session) -> None:
        self._scheduler = scheduler
        self._session = session
        self.finished = 0
        self.stuck = False
        self.turn_taken = False
        self.waiting: deque[Call] = deque()
        self.held: deque[Call] = deque()
        # Admitted calls that wait for others on their handle.
        self._awaiting_handle: set[Call] = set()
        self._launched = 0
        self._cost = 0

    @property
    def busy(self) -> bool:
        """Whether answers are pending."""
        return bool(self._cost)

    @property
    def full(self) -> bool:
        """Whether no more requests can be kept, for this client or for all."""
        return self._exceeds(1)

    @property
    def full_by_itself(self) -> bool:
        """Whether this client's requests alone reach its limit."""
        return self._cost >= _CLIENT_COST_MAX

    @property
    def has_room(self) -> bool:
        """Whether another request can be kept or refused."""
        if not self._cost and self._scheduler.unanswered < _TOTAL_COST_MAX:
            return True
        # If commands are stuck, further requests are refused instead of left unread. A refusal that waits for its
        # turn takes memory too, unless answers are muted.
        if self._session.muted or not self.full:
            return True
        return (self.stuck or self._scheduler.stuck) and not self._exceeds(2)

    def may_run_nowait(self, call: Call) -> bool:
        """Return whether the call may run on the loop without overtaking another one."""
        return not self.held and self._may_launch() and not self._scheduler.has_queue(call)

    def add(self, call: Call) -> None:
        """Run the call in its turn, or refuse it if it cannot be kept."""
        if self.full and self._must_wait(call):
            self._refuse(call)
            return
        self._count(call.cost)
        self._scheduler.arrived(call, self)
        self._scheduler.enqueue(call)
        if call.ordered:
            self.waiting.append(call)
            self._take_turns()
        else:
            self._begin(call)

    def release(self) -> None:
        """Launch held calls, as many as may run now."""
        for call in [*self.held]:
            if not self._may_launch():
                break
            if self._scheduler.has_share(call, self):
                self.held.remove(call)
                self._launch(call)

    def take_back(self, first: Call) -> list[Call]:
        """Remove the calls that wait for their turn, from `first` on, and return them."""
        if first not in self.waiting:
            return []
        calls = [*self.waiting][self.waiting.index(first) :]
        for call in calls:
            self.waiting.remove(call)
            self._forget(call)
        return calls

    def detach(self) -> None:
        """The client has left: its requests are still run, unless all requests take too much memory."""
        self._scheduler.revoke_all_of(self)
        if self._scheduler.unanswered * 2 >= _TOTAL_COST_MAX:
            self._drop_all()
        self.release()

    def _drop_all(self) -> None:
        begun = [*self.held, *self._awaiting_handle]
        self.held.clear()
        self._awaiting_handle.clear()
        for call in begun:
            call.run_at_head = None
        for call in begun:
            self._count(-call.cost)
            self._scheduler.finished_with(call)
            self._scheduler.withdraw(call)
        while self.waiting:
            self._forget(self.waiting.popleft())

    def _forget(self, call: Call) -> None:
        self._count(-call.cost)
        self._scheduler.finished_with(call)
        self._scheduler.dequeue(call)

    def _exceeds(self, times: int) -> bool:
        return self._cost >= times * _CLIENT_COST_MAX or self._scheduler.unanswered >= times * _TOTAL_COST_MAX

    def _must_wait(self, call: Call) -> bool:
        if call.ordered and (self.turn_taken or self.waiting):
            return True
        return call.command is not None and not (call.command.inline or call.command.urgent)

    def _refuse(self, call: Call) -> None:
        if self._session.muted:
            return
        # Keep the tag, and nothing else that takes memory.
        error = CommandError("too many requests wait for commands that are stuck; ask for less at once", EAGAIN)
        refused = Call(Request("", {}, call.tag), 0, call.dialect, error)
        if call.ordered:
            self._count(refused.cost)
            self.waiting.append(refused)
            self._take_turns()
        else:
            self._session.send(self._scheduler.dispatcher.refuse(refused, error))

    def _count(self, cost: int) -> None:
        self._cost += cost
        self.stuck = self.stuck and self.full_by_itself
        self._scheduler.count(cost)

    def _take_turns(self) -> None:
        while self.waiting and not self.turn_taken:
            self._begin(self.waiting.popleft())

    def _begin(self, call: Call) -> None:
        dispatcher = self._scheduler.dispatcher
        try:
            dispatcher.check(call)
            assert call.command is not None
            if call.command.revokes:
                # Not on arrival: a client may send a freeze and a thaw in one go, and means both.
                self._scheduler.revoke(self, call.bound.get("request", ""))
            if call.command.inline:
                self._finish(call, dispatcher.run(call))
                return
            self._scheduler.admit(call)
        except Exception as error:
            self._finish(call, dispatcher.refuse(call, error))
            self._scheduler.dequeue(call)
            return
        self.turn_taken |= call.ordered
        self._awaiting_handle.add(call)
        self._scheduler.when_head(call, lambda: self._launch_or_hold(call))

    def _launch_or_hold(self, call: Call) -> None:
        assert call.command is not None
        self._awaiting_handle.discard(call)
        if call.command.urgent or (self._may_launch() and self._scheduler.has_share(call, self)):
            self._launch(call)
        else:
            self.held.append(call)

    def _may_launch(self) -> bool:
        limit = self._scheduler.dispatcher.context.config.max_workers
        return not self._session.attached or (self._launched < limit and self._session.output_size < OUTPUT_HIGH)

    def _launch(self, call: Call) -> None:
        def finished(outcome: Pieces | Opened) -> None:
            self._launched -= 1
            self.finished += 1
            self.stuck = False
            self._finish(call, outcome)
            if call.ordered:
                self.turn_taken = False
                self._take_turns()
            self.release()
            self._session.proceed()

        self._launched += 1
        self._scheduler.launch(call, finished)

    def _finish(self, call: Call, outcome: Pieces | Opened) -> None:
        self._count(-call.cost)
        self._scheduler.finished_with(call)
        self._session.complete(call, outcome)
