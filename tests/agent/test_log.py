"""The log: any thread may write at any time."""

from __future__ import annotations

import threading

from phoenix_ga.agent.log import INFO, Log


def test_threads_that_write_at_once_do_not_disturb_each_other() -> None:
    log = Log()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            for _ in range(3000):
                log.write(INFO, "line")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
