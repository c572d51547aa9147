"""An agent on a Unix socket that answers from a script, however hostile."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from typing import Any

from phoenix_ga.client import SILENCE, CommandError
from phoenix_ga.wire.messages import decode_request, encode_error, encode_return
from phoenix_ga.wire.units import RESET_BYTE, Line, Parser


class ScriptedAgent:
    """answers: by command: a value, a CommandError, bytes to send as they are, SILENCE, None to hang up,
    or a function that returns one of these.

    asked: the names of the commands so far.
    """

    def __init__(self, directory: Path) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        self.endpoint = f"unix:{directory}/agent.sock"
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(f"{directory}/agent.sock")
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            # A client may leave before it has read all.
            with connection, contextlib.suppress(ConnectionError):
                self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        parser = Parser()
        while data := connection.recv(65536):
            parser.receive(data)
            for unit in parser:
                if not isinstance(unit, Line):
                    continue
                request = decode_request(unit.data)
                if request.execute == "sync":
                    connection.sendall(RESET_BYTE + b"".join(encode_return(request.arguments["id"], request.tag)))
                    continue
                self.asked.append(request.execute)
                answer = self.answers.get(request.execute)
                if callable(answer):
                    answer = answer()
                if answer is None:
                    return
                if isinstance(answer, CommandError):
                    connection.sendall(encode_error(answer.text, answer.code, request.tag))
                elif isinstance(answer, bytes):
                    connection.sendall(answer)
                elif answer is not SILENCE:
                    connection.sendall(b"".join(encode_return(answer, request.tag)))

    def __enter__(self) -> ScriptedAgent:
        return self

    def __exit__(self, *error: object) -> None:
        # Closing alone does not wake a thread that waits in accept(2).
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)
