"""Write numbers to a file for ever, each durably: `python3 durable_writer.py FILE ACKNOWLEDGED`.

After each fsync, the number is written to ACKNOWLEDGED, which is on a tmpfs. Other files are made and removed
meanwhile, so that metadata changes too.
"""

from __future__ import annotations

import os
import sys

log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
acknowledged = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT)
number = 0
while True:
    number += 1
    os.write(log, b"%d\n" % number)
    os.fsync(log)
    os.pwrite(acknowledged, b"%020d" % number, 0)
    other = f"{sys.argv[1]}.{number % 7}"
    with open(other, "wb") as file:
        file.write(os.urandom(20000))
    if number % 3 == 0:
        os.unlink(other)
