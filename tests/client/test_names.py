"""Guests by name: where each source finds them, and what words select."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ga.client import ConnectError, EndpointError, connect_sync
from phoenix_ga.client.discovery import find_guest, known_groups, known_guests, select_guests
from phoenix_ga.client.discovery.config import read_config
from phoenix_ga.client.discovery.libvirt import from_virsh, libvirt_guests
from phoenix_ga.client.discovery.proxmox import proxmox_guests
from phoenix_ga.client.discovery.qemu import qemu_guests
from phoenix_ga.client.host_sockets import held_paths, path_of_inode
from phoenix_ga.client.inventory import KnownGuest

OURS, QEMUS = "org.guest-agent.0", "org.qemu.guest_agent.0"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's configuration file, and no other host but this one."""
    directory = tmp_path / "config" / "phoenix"
    directory.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return directory / "config.toml"


def places(guests: list[KnownGuest]) -> dict[str, str]:
    return {guest.name: guest.endpoint for guest in guests}


def put(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# The configuration


def test_the_users_configuration_comes_before_that_of_the_host(config: Path, tmp_path: Path) -> None:
    config.write_text('[guests]\nweb1 = "unix:/mine"\n[groups]\nall = ["*"]\n')
    put(tmp_path / "etc/phoenix/config.toml", '[guests]\nweb1 = "/theirs"\nweb2 = "pty:/dev/pts/3"\n')
    read = read_config(tmp_path)
    assert places([*read.guests]) == {"web1": "unix:/mine", "web2": "pty:/dev/pts/3"}
    assert read.groups == {"all": ("*",)}


def test_tcp_is_allowed_for_one_guest_by_its_own_line(config: Path) -> None:
    config.write_text('[guests]\na = "tcp:h:1"\nb = { endpoint = "tcp:h:2", allow-tcp = true }\n')
    assert {guest.name: guest.allow_tcp for guest in read_config().guests} == {"a": False, "b": True}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("guests", "Expected '='"),
        ("guest = 1", "unknown key 'guest'"),
        ('sources = ["docker"]', "sources must be a list of some of libvirt, proxmox, qemu"),
        ("guests = 1", "[guests] must be a table"),
        ("[guests]\na = 1", "guest 'a' needs an endpoint"),
        ('[guests]\na = "b"', "guest 'a': endpoint 'b'"),
        ('[guests]\n"a/b" = "/x"', "guest 'a/b': a name must not contain"),
        ('[guests]\n"a\\u001b" = "/x"', "guest 'a\\x1b': a name must"),
        ('[guests]\na = { endpoint = "/x", port = 1 }', "unknown option 'port'"),
        ('[guests]\na = { endpoint = "/x", allow-tcp = 1 }', "allow-tcp must be true or false"),
        ('[groups]\na = "b"', "group 'a' must be a list"),
        ("[groups]\na = [1]", "group 'a' must be a list"),
    ],
)
def test_what_is_wrong_with_a_configuration_is_said_with_its_name(config: Path, text: str, complaint: str) -> None:
    config.write_text(text)
    with pytest.raises(EndpointError) as caught:
        read_config()
    assert str(caught.value).startswith(f"{config}: ")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sources_may_be_left_out(config: Path, tmp_path: Path) -> None:
    put(tmp_path / "var/run/qemu-server/100.qga")
    put(tmp_path / "run/libvirt/qemu/web1.xml", status("web1", ours="/l"))
    assert set(places(known_guests(tmp_path))) == {"100", "web1"}
    put(tmp_path / "etc/phoenix/config.toml", 'sources = ["proxmox"]\n')
    assert set(places(known_guests(tmp_path))) == {"100"}
    config.write_text("sources = []\n")
    assert known_guests(tmp_path) == []


# Words


def test_words_select_each_guest_once_in_their_order(config: Path) -> None:
    lines = "".join(f'{name} = "/{name}"\n' for name in ("web1", "web2", "db1"))
    config.write_text(f'sources = []\n[guests]\n{lines}[groups]\nfront = ["web*"]\nall = ["@front", "db1"]\n')

    def names(words: str) -> list[str]:
        return [guest.name for guest in select_guests(words)]

    assert names("db1,web2,db1") == ["db1", "web2"]
    assert names("web?") == ["web1", "web2"]
    assert names("@all") == ["web1", "web2", "db1"]
    assert names("unix:/a,/b,web1") == ["unix:/a", "/b", "web1"]
    assert known_groups() == ["all", "front"]


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("web9", "no guest is named 'web9'"),
        ("x*", "no guest matches 'x*'"),
        ("@none", "no group is named '@none'"),
        ("@round", "group '@round' is a member of itself"),
        ("", "no guest is named ''"),
    ],
)
def test_words_that_select_nothing_are_errors(config: Path, word: str, complaint: str) -> None:
    config.write_text('[groups]\nround = ["@round"]\n')
    with pytest.raises(EndpointError) as caught:
        select_guests(word)
    assert complaint in str(caught.value)


def test_an_endpoint_needs_no_configuration_that_can_be_read(config: Path) -> None:
    config.write_text("broken")
    assert select_guests("/run/a.sock") == [KnownGuest("/run/a.sock", "/run/a.sock", "command line")]


# libvirt

STATUS = """<domstatus state='running'><domain type='kvm' id='7'><name>{name}</name><devices>
<channel type='pty'><target type='virtio' name='org.guest-agent.0'/></channel>
{channels}</devices></domain></domstatus>"""
CHANNEL = "<channel type='unix'><source mode='bind' path='{path}'/><target type='virtio' name='{port}'/></channel>"


def status(name: str, **paths: str) -> str:
    ports = {"ours": OURS, "qemus": QEMUS, "other": "com.redhat.spice.0"}
    channels = "".join(CHANNEL.format(path=path, port=ports[port]) for port, path in paths.items())
    return STATUS.format(name=name, channels=channels)


def test_libvirts_list_has_whole_names_and_our_port_comes_first(tmp_path: Path) -> None:
    state = tmp_path / "run/libvirt/qemu"
    put(state / "a.xml", status("a-name-of-more-than-twenty-characters", qemus="/q", ours="/o"))
    put(state / "b.xml", status("b", qemus="/b", other="/s"))
    put(state / "c.xml", status("c", other="/c"))
    put(state / "d.xml", "<domstatus>")
    assert places(libvirt_guests(tmp_path)) == {"a-name-of-more-than-twenty-characters": "unix:/o", "b": "unix:/b"}


@pytest.mark.parametrize(
    "path",
    [
        f"run/libvirt/qemu/channel/3-web1/{OURS}",
        f"var/lib/libvirt/qemu/channel/target/domain-3-web1/{OURS}",
        f"var/lib/libvirt/qemu/channel/target/domain-web1/{OURS}",
        f"var/lib/libvirt/qemu/channel/target/web1.{OURS}",
    ],
)
def test_libvirts_directories_tell_where_its_list_cannot_be_read(tmp_path: Path, path: str) -> None:
    put(tmp_path / path)
    assert libvirt_guests(tmp_path) == [KnownGuest("web1", f"unix:{tmp_path / path}", "libvirt")]


def test_a_domain_that_list_and_directory_both_have_is_one_guest(tmp_path: Path) -> None:
    socket_path = put(tmp_path / f"run/libvirt/qemu/channel/3-a-name-of-more-than/{OURS}")
    put(tmp_path / "run/libvirt/qemu/x.xml", status("a-name-of-more-than-twenty-characters", ours=str(socket_path)))
    assert places(libvirt_guests(tmp_path)) == {"a-name-of-more-than-twenty-characters": f"unix:{socket_path}"}


def test_a_libvirt_of_the_users_own_is_looked_at(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    new = put(tmp_path / f"runtime/libvirt/qemu/run/channel/1-mine/{OURS}")
    old = put(tmp_path / f"config/libvirt/qemu/channel/target/domain-2-old/{OURS}")
    found = places(libvirt_guests())
    assert (found["mine"], found["old"]) == (f"unix:{new}", f"unix:{old}")


VIRSH = """#!/bin/sh
case "$*" in
    *list*) printf 'my web\\nstopped\\nlast\\n\\n' ;;
    *stopped) exit 1 ;;
    *) eval name=\\"\\${$#}\\"; sed "s/NAME/$name/g" DOMAIN; SLEEP ;;
esac
"""


@pytest.mark.parametrize(("sleep", "expected"), [("true", ["my web", "last"]), ("sleep 30", [])])
def test_virsh_tells_those_who_may_only_look_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sleep: str, expected: list[str]
) -> None:
    domain = put(tmp_path / "domain.xml", f"<domain><name>NAME</name><devices>{CHANNEL}</devices></domain>")
    domain.write_text(domain.read_text().format(path="/NAME", port=OURS))
    program = put(tmp_path / "bin/virsh", VIRSH.replace("DOMAIN", str(domain)).replace("SLEEP", sleep))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    assert [name for name, _, _ in from_virsh(put(tmp_path / "socket"))] == expected


# Proxmox VE


def test_a_guest_of_proxmox_has_its_name_and_its_number(tmp_path: Path) -> None:
    put(tmp_path / "var/run/qemu-server/100.qga")
    put(tmp_path / "var/run/qemu-server/101.qga")
    put(tmp_path / "var/run/qemu-server/101.pid")
    put(tmp_path / "etc/pve/qemu-server/100.conf", "agent: 1\nname: web1\n\n[snapshot]\nname: other\n")
    put(tmp_path / "etc/pve/qemu-server/101.conf", "agent: 1\n[snapshot]\nname: other\n")
    guests = sorted(proxmox_guests(tmp_path), key=lambda guest: guest.name)
    assert [(guest.name, guest.aliases) for guest in guests] == [("101", ()), ("web1", ("100",))]
    assert guests[1].endpoint == f"unix:{tmp_path}/var/run/qemu-server/100.qga"


# Command lines


def process(root: Path, number: int, *words: str, uid: int | None = None, exe: str = "") -> Path:
    """Make the files of a process. uid: its user; by default the current one. exe: by default its first argument."""
    directory = root / "proc" / str(number)
    directory.mkdir(parents=True)
    (directory / "exe").symlink_to(exe or words[0])
    owner = os.geteuid() if uid is None else uid
    (directory / "status").write_text(f"Name:\tqemu\nUid:\t{owner}\t{owner}\t{owner}\t{owner}\n")
    (directory / "cmdline").write_bytes(b"\0".join(word.encode() for word in words) + b"\0")
    return directory


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "-name web1 -chardev socket,id=a,path=/a,server=on,wait=off -device virtserialport,chardev=a,name=OURS",
            {"web1": "unix:/a"},
        ),
        (
            "-name guest=web1,debug-threads=on -device virtserialport,name=QEMUS,chardev=a "
            "-chardev socket,path=/a,,b,server,nowait,id=a",
            {"web1": "unix:/a,b"},
        ),
        (
            "-name web1 -chardev socket,id=a,path=/a,server=on -chardev socket,id=b,path=/b,server=on "
            "-device virtserialport,chardev=a,name=QEMUS -device virtserialport,chardev=b,name=OURS",
            {"web1": "unix:/b"},
        ),
        (
            '-chardev socket,id=a,path=/a,server=on -device {"driver":"virtserialport","chardev":"a","name":"OURS"}',
            {"qemu-7": "unix:/a"},
        ),
        ("-name v -device vhost-vsock-pci,guest-cid=12", {"v": "vsock:12"}),
        ('-name v -device {"driver":"vhost-vsock-pci","guest-cid":12}', {"v": "vsock:12"}),
        ("-name v -chardev socket,id=a,path=/a -device virtserialport,chardev=a,name=OURS", {}),
        ("-name v -chardev socket,id=a,path=/a,server=on -device virtserialport,chardev=a,name=org.spice.0", {}),
        ("-name v -chardev pty,id=a -device virtserialport,chardev=a,name=OURS", {}),
        ("-name v -device {{ -device virtserialport,chardev=none,name=OURS -chardev", {}),
    ],
)
def test_the_command_line_of_qemu_names_socket_and_guest(
    tmp_path: Path, words: str, expected: dict[str, str]
) -> None:
    process(tmp_path, 7, "/usr/bin/qemu-system-x86_64", *words.replace("OURS", OURS).replace("QEMUS", QEMUS).split())
    process(tmp_path, 8, "/usr/bin/vim", *words.split())
    assert places(qemu_guests(tmp_path)) == expected


QEMU = "/usr/bin/qemu-system-x86_64"
CLAIM = f"-name web1 -chardev socket,id=a,path=PATH,server=on -device virtserialport,chardev=a,name={OURS}"


def test_a_process_that_only_looks_like_qemu_is_no_guest(tmp_path: Path) -> None:
    words = CLAIM.replace("PATH", "/none").split()
    process(tmp_path, 7, QEMU, *words, uid=4711)
    process(tmp_path, 8, QEMU, *words, exe="/usr/bin/python3")
    os.unlink(process(tmp_path, 9, QEMU, *words) / "exe")
    os.unlink(process(tmp_path, 10, QEMU, *words) / "status")
    assert qemu_guests(tmp_path) == []
    process(tmp_path, 11, QEMU, *words, uid=0, exe=f"{QEMU} (deleted)")
    (guest,) = qemu_guests(tmp_path)
    assert (guest.name, set(guest.owners)) == ("web1", {0, os.geteuid()})


@pytest.fixture
def strangers_socket(tmp_path: Path) -> Iterator[Path]:
    """A socket on which another user listens."""
    if os.geteuid():
        pytest.skip("needs root")
    path = tmp_path / "evil.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        os.chown(path, 65534, 65534)
        os.seteuid(65534)
        try:
            listener.listen()
        finally:
            os.seteuid(0)
        yield path


@pytest.mark.root
def test_the_socket_of_another_user_is_no_guest(strangers_socket: Path, tmp_path: Path) -> None:
    process(tmp_path, 7, QEMU, *CLAIM.replace("PATH", str(strangers_socket)).split())
    assert qemu_guests(tmp_path) == []


@pytest.mark.root
def test_a_socket_that_another_user_listens_on_is_refused_after_connecting(strangers_socket: Path) -> None:
    known = KnownGuest("web1", f"unix:{strangers_socket}", "qemu", owners=(0,))
    with pytest.raises(ConnectError, match="user 65534 listens on this socket"), connect_sync(known):
        pass


def test_a_socket_with_a_newline_in_its_path_forges_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as honest, socket.socket(socket.AF_UNIX) as forger:
        honest.bind(str(tmp_path / "honest"))
        honest.listen()
        inode = os.fstat(honest.fileno()).st_ino
        forged = f"x\n0: 00000003 00000000 00010000 0001 03 {inode} "
        monkeypatch.chdir(tmp_path)
        os.mkdir(forged)
        forger.bind(f"{forged}/evil")
        forger.listen()
        assert path_of_inode(inode, Path("/proc/self")) == str(tmp_path / "honest")
        assert not [path for path in held_paths() if path.endswith("evil")]


def test_a_forged_table_of_another_namespace_is_not_believed(tmp_path: Path) -> None:
    row = "0: 00000003 00000000 00010000 0001 03 999999999999 "
    put(tmp_path / "net/unix", f"Num RefCount\n{row}/honest\n")
    assert path_of_inode(999999999999, tmp_path) == "/honest"
    put(tmp_path / "net/unix", f"Num RefCount\n{row}/honest\n{row}/evil\n")
    assert path_of_inode(999999999999, tmp_path) == ""


@pytest.fixture
def inheritor(tmp_path: Path) -> Iterator[Path]:
    """A process that was handed a listening socket, as libvirt does, under QEMU's name."""
    path = tmp_path / "inherited.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    listener.set_inheritable(True)
    words = ["-name", "guest=inheritor", "-device", f"virtserialport,chardev=a,name={OURS}"]
    words += ["-chardev", f"socket,id=a,fd={listener.fileno()},server=on,wait=off"]
    # The name of the executable is checked, so it is a shell under that name.
    program = shutil.copy(os.path.realpath("/bin/sh"), tmp_path / "qemu-system-test")
    running = subprocess.Popen(
        ["qemu-system-test", "-c", "echo; read line", *words],
        executable=program,
        pass_fds=[listener.fileno()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert running.stdout is not None
    running.stdout.readline()
    yield path
    running.kill()
    running.communicate()
    listener.close()


def test_a_socket_that_qemu_was_handed_is_found_by_its_number(inheritor: Path, config: Path) -> None:
    assert places(qemu_guests())["inheritor"] == f"unix:{inheritor}"
    assert find_guest("inheritor").source == "qemu"


# All together


def test_a_guest_that_several_know_is_one_and_of_two_with_one_name_both_are_there(
    config: Path, tmp_path: Path
) -> None:
    config.write_text(f'[guests]\nmine = "{tmp_path}/var/run/qemu-server/100.qga"\n')
    put(tmp_path / "var/run/qemu-server/100.qga")
    put(tmp_path / "var/run/qemu-server/101.qga")
    put(tmp_path / "etc/pve/qemu-server/101.conf", "name: web1\n")
    put(tmp_path / "run/libvirt/qemu/web1.xml", status("web1", ours="/l"))
    words = "-name web1 -chardev socket,id=a,path=/l,server=on -device virtserialport,chardev=a,name="
    process(tmp_path, 7, "qemu-kvm", *(words + OURS).split())
    for number in (8, 9):
        process(tmp_path, number, "kvm", *(words.replace("/l", f"/{number}") + OURS).split())
    others = {name: where for name, where in places(known_guests(tmp_path)).items() if "qemu" in name}
    assert sorted(others) == ["web1@qemu", "web1@qemu2"]
    assert sorted(others.values()) == ["unix:/8", "unix:/9"]
    assert {name: where for name, where in places(known_guests(tmp_path)).items() if name not in others} == {
        "mine": f"{tmp_path}/var/run/qemu-server/100.qga",
        "web1": "unix:/l",
        "web1@proxmox": f"unix:{tmp_path}/var/run/qemu-server/101.qga",
    }
