"""Copies files with the client library of a checkout: `python copier.py SOURCE_DIRECTORY ENDPOINT`.

Each line of standard input is a job in JSON: {"verb": "get" or "put", "remote": PATH, "local": PATH, "verify":
true or false}. The answer to each is a line in JSON: the seconds that the copy took, or the text of an error.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any


async def copy(endpoint: str, job: dict[str, Any]) -> float:
    """Do a job on a connection of its own, and return the seconds without those for connecting."""
    from phoenix_ga.client import connect

    async with connect(endpoint) as guest:
        begin = time.perf_counter()
        if job["verb"] == "get":
            await guest.get(job["remote"], job["local"], verify=job["verify"])
        else:
            await guest.put(job["local"], job["remote"], verify=job["verify"])
        return time.perf_counter() - begin


def main() -> None:
    source, endpoint = sys.argv[1:3]
    # Before an installed package of the same name.
    sys.path.insert(0, source)
    for line in sys.stdin:
        answer: float | str
        try:
            answer = asyncio.run(copy(endpoint, json.loads(line)))
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
