"""Base64 as GLib decodes it, on which clients of the QEMU Guest Agent rely."""

from __future__ import annotations

from binascii import a2b_base64

from phoenix_ga.agent.protocol.call import CommandError
from phoenix_ga.wire.base64_text import decode_plain_base64
from phoenix_ga.wire.messages import NO_CODE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\n"


def decode_guest_base64(text: str) -> bytes:
    """Return the data of a base64 text, in which newlines are fine, and a group that is cut short is dropped.

    Raises CommandError on any other character that does not belong.
    """
    data = decode_plain_base64(text.replace("\n", "") if "\n" in text else text)
    if data is not None:
        return data
    encoded = text.encode("utf-8", "surrogatepass")
    if encoded.translate(None, _ALPHABET):
        raise CommandError("Base64 data contains invalid characters", NO_CODE)
    joined = encoded.translate(None, b"\n").decode("ascii")
    joined = joined[: len(joined) // 4 * 4]
    data = decode_plain_base64(joined)
    return _decode_groups(joined) if data is None else data


def _decode_groups(text: str) -> bytes:
    """Return the data of a text with padding in strange places."""
    data = bytearray()
    position = 0
    while position < len(text):
        strange = text.find("=", position)
        end = len(text) if strange < 0 else strange // 4 * 4
        data += a2b_base64(text[position:end])
        group = text[end : end + 4]
        decoded = a2b_base64(group.replace("=", "A"))
        data += decoded[:1]
        for index in range(1, len(decoded)):
            if group[index + 1] != "=":
                data += decoded[index : index + 1]
        position = end + 4
    return bytes(data)
