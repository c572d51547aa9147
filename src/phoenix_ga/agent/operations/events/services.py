"""Events of systemd's services."""

from __future__ import annotations

from time import sleep

from phoenix_ga.agent.linux.systemd_bus import SystemdSignals, number_property, text_property, unit_of, units_in_state
from phoenix_ga.agent.operations.events.producer import Producer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from phoenix_ga.agent.operations.events.producer import Tell

_SUFFIX: Final = ".service"
_FAILED: Final = "failed"
# siginfo(5): ExecMainCode of a process that has exited, and of none.
_EXITED: Final = (0, 1)
_OTHER_STATES: Final = (b"active", b"activating", b"deactivating", b"inactive", b"reloading")
# While systemd executes itself again, it does not listen for about a second.
_ATTEMPTS: Final = 50
_PAUSE: Final = 0.2


class ServiceProducer(Producer):
    """Tells of services that systemd shows as failed from now on."""

    names = ("SERVICE_FAILED",)

    @property
    def slow(self) -> bool:  # type: ignore[override]
        return bool(self._suspects)

    def __init__(self) -> None:
        self._signals = SystemdSignals()
        super().__init__(self._signals)
        # How the main process of a service has ended, which a signal of its own tells right before the state.
        self._ended: tuple[str, dict[str, Any]] = ("", {})
        # Those that were failed for a moment at least.
        self._suspects: dict[str, dict[str, Any]] = {}
        try:
            self._failed = units_in_state(_FAILED.encode())
        except BaseException:
            self.source.close()
            raise

    def take(self, items: list[Any], tell: Tell) -> None:
        for message in items:
            unit = unit_of(message)
            if not unit.endswith(_SUFFIX):
                continue
            state = text_property(message, b"ActiveState")
            result = text_property(message, b"Result")
            if result:
                self._ended = (unit, _data(message, result))
            if not state:
                continue
            if state != _FAILED:
                self._failed.discard(unit)
            elif unit not in self._failed:
                self._failed.add(unit)
                self._suspects[unit] = self._ended[1] if self._ended[0] == unit else _data(b"", "")

    def examine(self) -> list[tuple[str, dict[str, Any]]]:
        suspects = []
        while self._suspects:
            suspects.append(self._suspects.popitem())
        try:
            # systemd says that a service has failed even if it restarts it at once. It may have forgotten it as well.
            restarted = units_in_state(*_OTHER_STATES)
        except OSError:
            restarted = set()
        return [("SERVICE_FAILED", {"unit": unit, **ended}) for unit, ended in suspects if unit not in restarted]

    def recover(self) -> None:
        for remaining in reversed(range(_ATTEMPTS)):
            try:
                self._signals.reconnect()
                self._failed = units_in_state(_FAILED.encode())
                return
            except OSError:
                if not remaining:
                    raise
            sleep(_PAUSE)


def _data(message: bytes, result: str) -> dict[str, Any]:
    status = number_property(message, b"ExecMainStatus")
    exited = number_property(message, b"ExecMainCode") in _EXITED
    return {"result": result, "status": status if exited else -1, "signal": 0 if exited else status}
