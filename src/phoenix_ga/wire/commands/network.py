"""Commands on network interfaces, addresses and routes."""

from __future__ import annotations

from phoenix_ga.wire.declaration import Argument, Command, Example

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

AF_UNSPEC: Final = 0
AF_INET: Final = 2
AF_INET6: Final = 10

_IFNAME = Argument("ifname", str, "Name of the interface, such as `eth0`.", python="interface")
_CIDR = Argument("ip", str, "IPv4 or IPv6 address with its prefix length, such as `192.0.2.10/24`.")
_NO_INTERFACE = ("ENODEV", "there is no such interface")
_BAD_ADDRESS = ("EINVAL", "an address or prefix is malformed, or they belong to different families")
_CHANGING = ("EAGAIN", "the kernel's list kept changing; try again")

_ROUTE_ARGUMENTS = (
    _IFNAME,
    Argument(
        "dst",
        str,
        "Destination prefix, such as `198.51.100.0/24`; without a prefix length, a single host. The default route is "
        "`0.0.0.0/0`, `::/0`, or `default`, which has the family of `gateway` or `src`, or else IPv4.",
        python="destination",
    ),
    Argument("src", str, "Preferred source address; empty: none.", default="", python="source"),
    Argument("gateway", str, "Address of the next hop; empty: none.", default=""),
    Argument(
        "scope",
        int,
        "Scope, see rtnetlink(7): 0 universe, 253 link, 254 host. Ignored for IPv6.",
        default=0,
        maximum=255,
    ),
)

COMMANDS = (
    Command(
        "get-netifaces",
        "List the network interfaces and their addresses.",
        handler="network:get_netifaces",
        method="network.interfaces",
        result="tuple[NetworkInterface, ...]",
        returns="List of objects: `index`; `name`; `hwaddr`, empty if there is none; `flags`, words joined by `|`: "
        "`up`, `broadcast`, `loopback`, `pointtopoint`, `multicast`; `kind`, such as `bridge`, as `ip -details link` "
        "shows it, empty for hardware; `container`: whether it serves containers or virtual machines of the guest: a "
        "veth, or a bridge without a port of another kind; and `ips`, in CIDR notation.",
        errors=(_CHANGING,),
        examples=(
            Example(
                {},
                [
                    {
                        "index": 1,
                        "name": "lo",
                        "hwaddr": "",
                        "flags": "up|loopback",
                        "kind": "",
                        "container": False,
                        "ips": ["127.0.0.1/8", "::1/128"],
                    }
                ],
                exact=False,
            ),
        ),
    ),
    Command(
        "ipaddr-add",
        "Add an address to an interface. An IPv4 address gets the broadcast address of its prefix, if there is one.",
        operation="network:add_address",
        method="network.add_address",
        result="None",
        arguments=(_CIDR, _IFNAME),
        errors=(_NO_INTERFACE, _BAD_ADDRESS, ("EEXIST", "the interface already has the address")),
        examples=(Example({"ip": "192.0.2.10/24", "ifname": "eth0"}, True),),
        aliases=("linux-ipaddr-add",),
        changes=True,
    ),
    Command(
        "net-iface-up",
        "Set an interface up.",
        operation="network:set_interface_up",
        method="network.set_interface_up",
        result="None",
        arguments=(_IFNAME,),
        errors=(_NO_INTERFACE,),
        examples=(Example({"ifname": "eth0"}, True),),
        changes=True,
    ),
    Command(
        "route-add",
        "Add a route to the main table.",
        operation="network:add_route",
        method="network.add_route",
        result="None",
        arguments=_ROUTE_ARGUMENTS,
        errors=(
            _NO_INTERFACE,
            _BAD_ADDRESS,
            ("EEXIST", "the route already exists"),
            ("ENETUNREACH", "the gateway cannot be reached directly"),
        ),
        examples=(
            Example({"ifname": "eth0", "dst": "198.51.100.0/24", "gateway": "192.0.2.1"}, True),
            Example({"ifname": "eth0", "dst": "203.0.113.0/24", "src": "192.0.2.10", "scope": 253}, True),
        ),
        changes=True,
    ),
    Command(
        "get-route-list",
        "List the routes of the main table, as `ip route show` and `ip -6 route show` do.",
        handler="network:get_route_list",
        method="network.routes",
        result="tuple[Route, ...]",
        arguments=(
            Argument(
                "family",
                int,
                "Address family: 0 all, 2 IPv4, 10 IPv6.",
                default=AF_UNSPEC,
                choices=(AF_UNSPEC, AF_INET, AF_INET6),
            ),
        ),
        returns="List of objects: `ifname`, `scope`, `dst` (`ip` and `mask`), `src` and `gateway`. A string is empty "
        "if it is not set; both strings of `dst` are empty in a default route. A route with several next hops is "
        "listed once for each.",
        errors=(_CHANGING,),
        examples=(
            Example(
                {"family": 2},
                [
                    {
                        "ifname": "eth0",
                        "scope": 0,
                        "dst": {"ip": "198.51.100.0", "mask": "255.255.255.0"},
                        "src": "",
                        "gateway": "192.0.2.1",
                    }
                ],
                exact=False,
            ),
        ),
    ),
    Command(
        "route-del",
        "Delete the route of the main table that matches all arguments. `scope` must match too: it is 253 for an "
        "IPv4 route without a gateway.",
        operation="network:delete_route",
        method="network.delete_route",
        result="None",
        arguments=_ROUTE_ARGUMENTS,
        errors=(_NO_INTERFACE, _BAD_ADDRESS, ("ESRCH", "there is no such route")),
        examples=(
            Example({"ifname": "eth0", "dst": "203.0.113.0/24", "scope": 253}, True),
            Example({"ifname": "eth0", "dst": "198.51.100.0/24", "gateway": "192.0.2.1"}, True),
        ),
        changes=True,
    ),
    Command(
        "ipaddr-del",
        "Remove an address from an interface.",
        operation="network:remove_address",
        method="network.remove_address",
        result="None",
        arguments=(_CIDR, _IFNAME),
        errors=(_NO_INTERFACE, _BAD_ADDRESS, ("EADDRNOTAVAIL", "the interface does not have the address")),
        examples=(Example({"ip": "192.0.2.10/24", "ifname": "eth0"}, True),),
        aliases=("linux-ipaddr-del",),
        changes=True,
    ),
    Command(
        "net-iface-down",
        "Set an interface down.",
        operation="network:set_interface_down",
        method="network.set_interface_down",
        result="None",
        arguments=(_IFNAME,),
        errors=(_NO_INTERFACE,),
        examples=(Example({"ifname": "eth0"}, True),),
        changes=True,
    ),
    Command(
        "net-persist",
        "Write what is active on an interface into a file of the guest's network manager, which reads it at the next "
        "boot: addresses and routes that were added, and name servers. What DHCP or a router has given is not "
        "written; if there is such an IPv4 address, the file asks for DHCP. The file has a name of its own and is "
        "replaced whole; a hidden copy of the one before stays beside it.",
        handler="network:net_persist",
        method="network.persist",
        result="PersistedInterface",
        arguments=(
            _IFNAME,
            Argument("dry_run", bool, "Only return what would be written.", default=False),
        ),
        returns="Object: `manager`, one of `systemd-networkd`, `NetworkManager`, `netplan` and `ifupdown`; `path` "
        "and `content` of the file; `backup`: path of the copy, empty if there was no such file.",
        errors=(
            _NO_INTERFACE,
            (
                "ENOTSUP",
                "the manager is not known, or the interface is down, or a bridge, a bond, a VLAN or the like",
            ),
            ("EEXIST", "a file of somebody else configures the interface, and would win"),
        ),
        examples=(
            Example(
                {"ifname": "eth0", "dry_run": True},
                {
                    "manager": "systemd-networkd",
                    "path": "/etc/systemd/network/05-phoenix-ga-eth0.network",
                    "content": "# Written by phoenix-ga, which replaces this file.\n[Match]\nName=eth0\n\n"
                    "[Network]\nDHCP=no\nAddress=192.0.2.10/24\n",
                    "backup": "",
                },
                exact=False,
            ),
        ),
        changes=True,
    ),
)
