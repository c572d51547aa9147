"""TLS and basic authentication, by the web configuration file that Prometheus and its exporters share.

https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_VERSIONS: Final = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
# Python verifies each certificate that it asks for.
_CLIENT_AUTH: Final = {
    "": ssl.CERT_NONE,
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_TLS_KEYS: Final = frozenset(
    ("cert_file", "key_file", "client_auth_type", "client_ca_file", "min_version", "max_version")
)
# What older servers need and ours does not: these have no effect.
_TLS_IGNORED: Final = frozenset(("prefer_server_cipher_suites",))
_HEADERS: Final = frozenset(
    (
        "Content-Security-Policy",
        "Strict-Transport-Security",
        "X-Content-Type-Options",
        "X-Frame-Options",
        "X-XSS-Protection",
    )
)
# A hash that no password has, so that an unknown user takes as long as a wrong password.
_NO_PASSWORD: Final = b"$2b$10$" + b"." * 53
_CACHE_MAX: Final = 128


class WebConfigError(Exception):
    """The file cannot be used."""


class WebConfig:
    """The content of a web configuration file.

    Attributes:
        tls: for servers; None for plain HTTP. It reads a renewed certificate.
        headers: to add to each response.
    """

    def __init__(self, path: str | None) -> None:
        """Read the file; None: no TLS, no users. Raises WebConfigError."""
        self.tls: ssl.SSLContext | None = None
        self.headers: dict[str, str] = {}
        self._users: dict[str, bytes] = {}
        # Hashes of user and password that bcrypt has accepted, because it takes long.
        self._accepted: set[bytes] = set()
        self._secret = secrets.token_bytes(32)
        if path is None:
            return
        try:
            self._read(Path(path))
        except OSError as error:
            raise WebConfigError(f"{error.filename or path}: {error.strerror or error}") from None
        except (ValueError, TypeError) as error:
            raise WebConfigError(f"{path}: {error}") from None

    @property
    def has_users(self) -> bool:
        """Whether clients have to log in."""
        return bool(self._users)

    def is_accepted(self, authorization: str) -> bool:
        """Return whether the header `Authorization` has the name and password of a user. Takes long, by design."""
        import bcrypt

        kind, _, encoded = authorization.partition(" ")
        try:
            name, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return False
        if kind.lower() != "basic":
            return False
        digest = hashlib.blake2b(name + b":" + password, key=self._secret).digest()
        if digest in self._accepted:
            return True
        hashed = self._users.get(name.decode("utf-8", "replace"), _NO_PASSWORD)
        try:
            # bcrypt knows 72 bytes of a password; since 5.0 it refuses longer ones.
            accepted = bcrypt.checkpw(password[:72], hashed)
        except ValueError:
            accepted = False
        if accepted and len(self._accepted) < _CACHE_MAX:
            self._accepted.add(digest)
        return accepted

    def _read(self, path: Path) -> None:
        try:
            import yaml
        except ImportError:
            raise WebConfigError("--web.config.file needs PyYAML (Debian: python3-yaml)") from None
        try:
            content = yaml.safe_load(path.read_text())
        except yaml.YAMLError as error:
            raise ValueError(" ".join(str(error).split())) from None
        content = _table("the file", content)
        _check_keys("the file", content, {"tls_server_config", "http_server_config", "basic_auth_users"})
        users = _table("basic_auth_users", content.get("basic_auth_users"))
        self._users = {str(name): str(value).encode() for name, value in users.items()}
        if any(not value.startswith((b"$2a$", b"$2b$", b"$2y$")) for value in self._users.values()):
            raise ValueError("basic_auth_users must have hashes by bcrypt, as htpasswd -nB prints them")
        if self._users:
            try:
                import bcrypt  # noqa: F401
            except ImportError:
                raise WebConfigError("basic_auth_users needs bcrypt (Debian: python3-bcrypt)") from None
        server = _table("http_server_config", content.get("http_server_config"))
        _check_keys("http_server_config", server, {"http2", "headers"})
        self.headers = {name: str(value) for name, value in _table("headers", server.get("headers")).items()}
        _check_keys("headers", self.headers, _HEADERS)
        if not all(value.isprintable() and value.isascii() for value in self.headers.values()):
            raise ValueError("headers must be of printable ASCII characters")
        tls = _table("tls_server_config", content.get("tls_server_config"))
        if tls:
            _check_keys("tls_server_config", tls, _TLS_KEYS | _TLS_IGNORED)
            self.tls = _Certificate(path.parent, tls).context


class _Certificate:
    """A TLS context for servers, renewed when the files of its certificate change."""

    def __init__(self, directory: Path, settings: Mapping[str, Any]) -> None:
        self._directory = directory
        self._settings = settings
        if not settings.get("cert_file") or not settings.get("key_file"):
            raise ValueError("tls_server_config needs cert_file and key_file")
        self._files = (directory / str(settings["cert_file"]), directory / str(settings["key_file"]))
        self._times = self._look()
        self._current = self.context = self._make()
        self.context.sni_callback = self._renew

    def _look(self) -> list[int]:
        return [os.stat(path).st_mtime_ns for path in self._files]

    def _make(self) -> ssl.SSLContext:
        settings = self._settings
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _choice("min_version", settings.get("min_version", "TLS12"), _VERSIONS)
        if "max_version" in settings:
            context.maximum_version = _choice("max_version", settings["max_version"], _VERSIONS)
        context.load_cert_chain(*self._files)
        kind = str(settings.get("client_auth_type") or "")
        verify = _choice("client_auth_type", kind, _CLIENT_AUTH)
        if settings.get("client_ca_file"):
            context.load_verify_locations(self._directory / str(settings["client_ca_file"]))
        elif verify != ssl.CERT_NONE:
            raise ValueError(f"client_auth_type {kind} needs client_ca_file")
        context.verify_mode = verify
        return context

    def _renew(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """Give a new connection the certificate that is in the files now, unless that is broken."""
        try:
            times = self._look()
            if times != self._times:
                self._times = times
                self._current = self._make()
        except (OSError, ValueError):
            pass
        if self._current is not context:
            connection.context = self._current


def _table(name: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{name} must be a mapping")
    return value


def _check_keys(name: str, table: Mapping[str, Any], valid: frozenset[str] | set[str]) -> None:
    for key in table:
        if key not in valid:
            raise ValueError(f"{name}: {key!r} is unknown or not supported; valid are {', '.join(sorted(valid))}")


def _choice(name: str, value: Any, choices: Mapping[str, Any]) -> Any:
    if value not in choices:
        raise ValueError(f"{name} {value!r} is not supported; valid are {', '.join(filter(None, choices))}")
    return choices[value]
