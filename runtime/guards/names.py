"""Capability names: what they look like, which roots are ours, and what a device is granted as a matter of course.

Holds no tokens and decides about nobody; a name that breaks the grammar is refused when it is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from antiphon.facts import LocalViolation

NAME_LENGTH_MAX = 128
_NAME = re.compile(r"[a-z0-9_:-]+")
RESERVED_ROOTS = frozenset(
    {"amp", "auth", "chat", "consensus", "contact", "dkd", "example", "friendship", "home", "invitation", "journal"}
    | {"moderation", "privacy", "query", "recovery", "relay", "rendezvous", "sync"}
)
HOST_NAMES = frozenset({"read", "write", "execute", "delegate", "moderator", "flow_charge"})
DEVICE_GRANT: tuple[str, ...] = (
    *sorted(HOST_NAMES),
    "amp:send",
    "sync:request_digest",
    "sync:request_ops",
    "sync:push_ops",
    "sync:announce_op",
    "sync:push_op",
    "rendezvous:publish",
    "rendezvous:connect",
    "rendezvous:relay",
    "chat:channel:create",
    "chat:message:send",
    "invitation:send",
    "invitation:accept",
    "invitation:decline",
    "invitation:cancel",
    "invitation:guardian",
    "invitation:channel",
    "invitation:device:enroll",
)
"""What a device of an authority may do; what a ceremony has to give (``consensus:initiate`` …) is not among it."""
SYNC_GRANT: tuple[str, ...] = tuple(name for name in DEVICE_GRANT if name.startswith("sync:"))
"""What two replicas need to exchange facts."""


class UnknownCapability(LocalViolation):
    """A name that no capability can have; ``position`` is that of the first character that is wrong, or None."""

    def __init__(self, name: str, text: str, position: int | None = None) -> None:
        self.name = name
        self.position = position
        where = "" if position is None else f" at character {position + 1}"
        super().__init__(f"the capability {name!r:.150}{where}: {text}")


def check_name(name: str) -> str:
    """The name, when its form is right. Raises ``UnknownCapability``.

    >>> check_name("chat:message:send")
    'chat:message:send'
    """
    if not name:
        raise UnknownCapability(name, "is empty; write module:verb")
    match = _NAME.match(name)
    end = match.end() if match else 0
    if end < len(name):
        raise UnknownCapability(name, "only lower-case letters, digits, '_', '-' and ':' are allowed", end)
    if len(name) > NAME_LENGTH_MAX:
        raise UnknownCapability(name, f"is longer than {NAME_LENGTH_MAX}", NAME_LENGTH_MAX)
    if "" in name.split(":"):
        raise UnknownCapability(name, "has an empty part", name.find("::") + 1 if "::" in name else None)
    return name


def check_protocol_name(name: str, *, own_roots: Collection[str] = (), modules: Collection[str] = ()) -> str:
    """The name, when a protocol may demand it: with a module, and with a root that is ours or one of *own_roots*.

    ``module:<id>:<path>`` needs the module *<id>* among *modules*. Raises ``UnknownCapability``.
    """
    check_name(name)
    root, colon, rest = name.partition(":")
    if not colon:
        raise UnknownCapability(name, "a protocol's capability has a module, as in chat:message:send")
    if root == "cap":
        raise UnknownCapability(name, "names that begin with cap: are kept for the guards themselves", 0)
    if root == "module":
        module, _, path = rest.partition(":")
        if module not in modules or not path:
            raise UnknownCapability(name, f"the module {module!r} was not admitted, or names no path", len("module:"))
        return name
    if root not in RESERVED_ROOTS and root not in own_roots:
        text = f"nobody owns {root!r}; declare it as the protocol's namespace, or use one of {sorted(RESERVED_ROOTS)}"
        raise UnknownCapability(name, text, 0)
    return name
