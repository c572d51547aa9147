"""Users, passwords and keys; both agents work on the same files, ours first."""

from __future__ import annotations

from tests.guest.qga_transcript import Row

_PASSWORD = '{"execute": "guest-set-user-password", "arguments": '
_GET = '{"execute": "guest-ssh-get-authorized-keys", "arguments": '
_ADD = '{"execute": "guest-ssh-add-authorized-keys", "arguments": '
_REMOVE = '{"execute": "guest-ssh-remove-authorized-keys", "arguments": '

ROWS: tuple[Row, ...] = (
    Row("users", '{"execute": "guest-get-users"}', masked=("0/return/*/login-time",)),
    Row("users with an argument", '{"execute": "guest-get-users", "arguments": {"a": 1}}'),
    Row("users with a list", '{"execute": "guest-get-users", "arguments": []}'),
    Row("users with an unknown member", '{"execute": "guest-get-users", "a": 1}'),
    Row("password", _PASSWORD + '{"username": "games", "password": "c2VjcmV0", "crypted": false}}'),
    Row(
        "password as Proxmox VE sends it",
        _PASSWORD + '{"username":"games","password":"c2Vj\\ncmV0\\n","crypted":false}}',
    ),
    Row("password that is encrypted", _PASSWORD + '{"username": "games", "password": "JDYkYSRi", "crypted": true}}'),
    Row("password of nobody", _PASSWORD + '{"username": "not-there", "password": "c2VjcmV0", "crypted": false}}'),
    Row("password of an empty name", _PASSWORD + '{"username": "", "password": "c2VjcmV0", "crypted": false}}'),
    Row("password that is empty", _PASSWORD + '{"username": "games", "password": "", "crypted": false}}'),
    Row("password with a line break", _PASSWORD + '{"username": "games", "password": "c2VjCg==", "crypted": false}}'),
    Row("name with a colon", _PASSWORD + '{"username": "ga:mes", "password": "c2VjcmV0", "crypted": false}}'),
    Row("name with a line break", _PASSWORD + '{"username": "ga\\nmes", "password": "c2VjcmV0", "crypted": false}}'),
    Row("password that is no base64", _PASSWORD + '{"username": "games", "password": "!!", "crypted": false}}'),
    Row("password with a space", _PASSWORD + '{"username": "games", "password": "c2Vj cmV0", "crypted": false}}'),
    Row("password without padding", _PASSWORD + '{"username": "games", "password": "YQ", "crypted": false}}'),
    Row("password with padding inside", _PASSWORD + '{"username": "games", "password": "YQ=a", "crypted": false}}'),
    Row(
        "password with a NUL",
        _PASSWORD + '{"username": "games", "password": "YQBi", "crypted": false}}',
        differs="password-nul",
    ),
    Row("password without anything", '{"execute": "guest-set-user-password"}'),
    Row("password without a name", _PASSWORD + '{"password": "c2VjcmV0", "crypted": false}}'),
    Row("password without encryption told", _PASSWORD + '{"username": "games", "password": "c2VjcmV0"}}'),
    Row("password with a text for a truth", _PASSWORD + '{"username":"games","password":"c2VjcmV0","crypted":"no"}}'),
    Row(
        "password with a number for a name", _PASSWORD + '{"username": 1, "password": "c2VjcmV0", "crypted": false}}'
    ),
    Row("password with more", _PASSWORD + '{"username": "games", "password": "YQ==", "crypted": true, "a": 1}}'),
    Row("keys of a file that is not there", _GET + '{"username": "root"}}'),
    Row("keys of a home that is not there", _GET + '{"username": "nobody"}}'),
    Row("keys of nobody", _GET + '{"username": "not-there"}}', differs="unknown-user"),
    Row("keys of an empty name", _GET + '{"username": ""}}', differs="unknown-user"),
    Row("keys without a name", '{"execute": "guest-ssh-get-authorized-keys"}'),
    Row("keys with a number for a name", _GET + '{"username": 0}}'),
    Row("keys with more", _GET + '{"username": "root", "keys": []}}'),
    Row("removal from a file that is not there", _REMOVE + '{"username": "root", "keys": ["ssh-rsa A"]}}'),
    Row("addition of none", _ADD + '{"username": "root", "keys": []}}'),
    Row("keys where there are none", _GET + '{"username": "root"}}'),
    Row("addition", _ADD + '{"username": "root", "keys": ["ssh-rsa A a", "ssh-rsa B", "ssh-rsa A a"]}}'),
    Row("addition of what is there", _ADD + '{"username": "root", "keys": ["ssh-rsa B"]}}'),
    Row("addition of an empty one", _ADD + '{"username": "root", "keys": ["ssh-rsa C", ""]}}'),
    Row("keys", _GET + '{"username": "root"}}'),
    Row("removal", _REMOVE + '{"username": "root", "keys": ["ssh-rsa A a", "ssh-rsa Z", ""]}}'),
    Row("keys after the removal", _GET + '{"username": "root"}}'),
    Row("removal of none", _REMOVE + '{"username": "root", "keys": []}}'),
    Row("addition without a reset", _ADD + '{"username": "root", "keys": ["ssh-rsa D"], "reset": false}}'),
    Row("keys without a reset", _GET + '{"username": "root"}}'),
    Row("addition with a reset", _ADD + '{"username": "root", "keys": ["ssh-rsa E"], "reset": true}}'),
    Row("keys after the reset", _GET + '{"username": "root"}}'),
    Row("reset to none", _ADD + '{"username": "root", "keys": [], "reset": true}}'),
    Row("keys after a reset to none", _GET + '{"username": "root"}}'),
    Row("addition of a comment", _ADD + '{"username": "root", "keys": ["ssh-rsa F", "# ssh-rsa G"]}}'),
    Row("addition of two lines", _ADD + '{"username": "root", "keys": ["ssh-rsa F\\nssh-rsa G"]}}'),
    Row("addition to nobody", _ADD + '{"username": "not-there", "keys": []}}', differs="unknown-user"),
    Row("addition to a home that is not there", _ADD + '{"username": "nobody", "keys": ["ssh-rsa F"]}}'),
    Row("addition without keys", _ADD + '{"username": "root"}}'),
    Row("addition of a text", _ADD + '{"username": "root", "keys": "ssh-rsa F"}}'),
    Row("addition of a number", _ADD + '{"username": "root", "keys": [1]}}'),
    Row("addition with a text for a truth", _ADD + '{"username": "root", "keys": [], "reset": "yes"}}'),
    Row("addition with more", _ADD + '{"username": "root", "keys": [], "a": 1}}'),
    Row("removal of a comment", _REMOVE + '{"username": "root", "keys": ["# ssh-rsa G"]}}'),
    Row("removal of two lines", _REMOVE + '{"username": "root", "keys": ["ssh-rsa F\\nssh-rsa G"]}}'),
    Row("removal from nobody", _REMOVE + '{"username": "not-there", "keys": []}}', differs="unknown-user"),
    Row("removal without keys", _REMOVE + '{"username": "root"}}'),
    Row("removal of null", _REMOVE + '{"username": "root", "keys": null}}'),
    Row("removal with a reset", _REMOVE + '{"username": "root", "keys": [], "reset": true}}'),
)
