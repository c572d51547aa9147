"""Base64 as the protocol uses it: the standard alphabet, with padding."""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# The decoder ignores all other characters, and would decode a damaged text to damaged data.
_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="


def encode_base64(data: bytes | bytearray | memoryview) -> bytes:
    """Return `data` in base64, without line breaks."""
    return b2a_base64(data, newline=False)


def decode_plain_base64(text: str) -> bytes | None:
    """Return the data of a base64 text without line breaks, or None if the text is not strictly valid."""
    if len(text) % 4:
        return None
    try:
        data = a2b_base64(text)
    except (Base64Error, ValueError):
        return None
    padding = 2 if text.endswith("==") else text.endswith("=")
    # If the decoder has ignored characters, the data is shorter.
    return data if len(data) == len(text) // 4 * 3 - padding else None


def decode_base64(text: str) -> bytes:
    """Return the data of a base64 text, ignoring line breaks.

    Raises:
        ValueError: if there is any other invalid character, or the padding is wrong.
    """
    data = decode_plain_base64(text)
    if data is not None:
        return data
    try:
        encoded = text.encode("ascii")
    except UnicodeEncodeError:
        raise ValueError("base64 contains a character that is not ASCII") from None
    others = encoded.translate(None, _ALPHABET)
    if others:
        wrong = others.translate(None, b"\r\n")
        if wrong:
            raise ValueError(f"base64 contains the character {chr(wrong[0])!r}")
        encoded = encoded.translate(None, b"\r\n")
    padding = encoded.find(b"=")
    if len(encoded) % 4 or 0 <= padding < len(encoded) - 2 or (padding >= 0 and encoded[-1:] != b"="):
        raise ValueError("base64 is cut short or wrongly padded")
    try:
        return a2b_base64(encoded)
    except Base64Error as error:
        raise ValueError(f"not base64: {error}") from None
