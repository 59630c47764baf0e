"""What a person types in one line: words to say, or a command that becomes an intent or an errand for the runtime.

Reads and resolves names; does nothing. The same lines work in every front end that has a line to type in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from pydantic import ValidationError

from antiphon.facts import LocalViolation, home_owner
from antiphon.facts.contacts import ReadReceiptPolicy
from antiphon.views.chat_state import ChannelKey, ChatState, Message
from antiphon.views.contacts_state import ContactsState
from antiphon.views.invitations_state import Invitation, InvitationsState

from . import intents as ask
from .intent_errors import IntentError
from .intents import Intent

_AUTHORITY = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where somebody types: what is shown, and which channel is open."""

    chat: ChatState
    contacts: ContactsState
    invitations: InvitationsState
    channel: ChannelKey | None


class Errand(NamedTuple):
    """Something for the runtime: the name of an operation of the bridge that takes an address."""

    operation: str
    address: str


class Help(NamedTuple):
    """The commands there are, one a line."""

    text: str


class Command(NamedTuple):
    """One command: what follows it, what it does, and how it is read."""

    usage: str
    meaning: str
    read: Callable[[str, Place], Intent | Errand | Help]


def read_line(text: str, place: Place) -> Intent | Errand | Help:
    """What a line asks for. Raises ``IntentError`` of kind ``validation`` that says how it is written.

    >>> here = Place(ChatState(), ContactsState(), InvitationsState(), ChannelKey("antiphon.default", "hall"))
    >>> read_line("hello", here)
    SendMessage(channel_id='hall', context_id='antiphon.default', text='hello', reply_to=None)
    >>> read_line("/create Attic", here).name
    'Attic'
    """
    text = text.strip()
    if not text.startswith("/") or text.startswith("//"):
        return _say(text.removeprefix("/") if text.startswith("//") else text, place)
    name, _, rest = text[1:].partition(" ")
    command = COMMANDS.get(name)
    if command is None:
        raise IntentError("validation", f"there is no /{name}; /help lists the commands, // says a line that begins so")
    try:
        return command.read(rest.strip(), place)
    except ValidationError as problem:
        told = "; ".join(each["msg"] for each in problem.errors(include_url=False))
        raise IntentError("validation", f"/{name} {command.usage}: {told}") from None
    except IntentError:
        raise
    except LocalViolation as problem:  # a name that fits nobody, or several
        raise IntentError("validation", str(problem)) from problem


def _open_channel(place: Place) -> dict[str, str]:
    if place.channel is None:
        raise IntentError("validation", "no channel is open; choose one, or make one with /create NAME")
    return {"channel_id": place.channel.channel_id, "context_id": place.channel.context_id}


def _shown(place: Place) -> tuple[Message, ...]:
    return place.chat.messages.get(place.channel, ()) if place.channel else ()


def _last(place: Place, *, is_own: bool) -> str:
    found = next((each.id for each in reversed(_shown(place)) if each.is_own is is_own), None)
    if found is None:
        raise IntentError("validation", f"{'you have' if is_own else 'nobody else has'} said nothing in this channel")
    return found


def _who(text: str, place: Place) -> str:
    return text if _AUTHORITY.fullmatch(text) else place.contacts.resolve(text).id


def _invitation(text: str, place: Place) -> str:
    """The invitation whose id begins so; without a text the only one that waits."""
    return _one_of((*place.invitations.pending, *place.invitations.sent), text)


def _accepted(text: str, place: Place) -> str:
    """The accepted invitation whose id begins so; without a text the only one."""
    return _one_of([each for each in place.invitations.history if each.status == "accepted"], text)


def _one_of(invitations: Iterable[Invitation], text: str) -> str:
    known = [each for each in invitations if each.id.startswith(text)]
    if len(known) != 1:
        raise IntentError("validation", f"{len(known)} invitations begin with {text!r}; give more of the id")
    return known[0].id


def _say(text: str, place: Place) -> Intent:
    if not text:
        raise IntentError("validation", "there is nothing to say")
    return ask.SendMessage(**_open_channel(place), text=text)


def _reply(text: str, place: Place) -> Intent:
    return ask.SendMessage(**_open_channel(place), text=text, reply_to=_last(place, is_own=False))


def _edit(text: str, place: Place) -> Intent:
    return ask.EditMessage(**_open_channel(place), message_id=_last(place, is_own=True), text=text)


def _delete(_: str, place: Place) -> Intent:
    return ask.DeleteMessage(**_open_channel(place), message_id=_last(place, is_own=True))


def _read(_: str, place: Place) -> Intent:
    channel = _open_channel(place)
    return ask.MarkRead(channel_id=channel["channel_id"], context_id=channel["context_id"])


def _reacting(*, is_taken_back: bool) -> Callable[[str, Place], Intent]:
    def read(text: str, place: Place) -> Intent:
        channel = _open_channel(place)
        return ask.ReactToMessage(
            channel_id=channel["channel_id"],
            context_id=channel["context_id"],
            message_id=_last(place, is_own=False),
            reaction=text,
            is_taken_back=is_taken_back,
        )

    return read


def _merge(text: str, place: Place) -> Intent:
    channel = _open_channel(place)
    here = [each for key, each in place.chat.channels.items() if key.context_id == channel["context_id"]]
    named = [each.id for each in here if text in (each.id, each.name)]
    if len(named) != 1:
        raise IntentError("validation", f"{len(named)} channels here are called {text!r}; give the id of one")
    return ask.MergeChannel(**channel, into=named[0])


def _receipts(text: str, place: Place) -> Intent:
    who, _, wanted = text.rpartition(" ")
    if wanted not in _RECEIPTS:
        raise IntentError("validation", "/receipts WHO on|off says whether somebody is told what you read")
    return ask.SetReadReceipts(contact_id=_who(who, place), policy=_RECEIPTS[wanted])


_RECEIPTS: Mapping[str, ReadReceiptPolicy] = MappingProxyType({"on": "enabled", "off": "disabled"})


def _of_ceremony(intent: type[ask.AboutInvitation]) -> Callable[[str, Place], Intent]:
    def read(text: str, place: Place) -> Intent:
        return intent(invitation_id=_accepted(text, place))

    return read


def _add(text: str, place: Place) -> Intent:
    contact_id, _, nickname = text.partition(" ")
    return ask.AddContact(contact_id=contact_id, nickname=nickname)


def _call(text: str, place: Place) -> Intent:
    who, _, nickname = text.partition(" ")
    return ask.RenameContact(contact_id=_who(who, place), nickname=nickname)


def _in_home(place: Place, text: str) -> tuple[str, str, str, str]:
    """The home and the channel that are open, whom a line names, and what follows."""
    channel = _open_channel(place)
    who, _, rest = text.partition(" ")
    return channel["context_id"], channel["channel_id"], _who(who, place), rest.strip()


def _mute(text: str, place: Place) -> Intent:
    home, _, who, seconds = _in_home(place, text)
    return ask.Mute.model_validate({"home": home, "target_id": who, "duration_s": seconds or None})


def _ban(text: str, place: Place) -> Intent:
    home, _, who, reason = _in_home(place, text)
    return ask.Ban(home=home, target_id=who, reason=reason)


def _kick(text: str, place: Place) -> Intent:
    home, channel_id, who, reason = _in_home(place, text)
    return ask.KickMember(home=home, channel_id=channel_id, target_id=who, reason=reason)


def _of_person(intent: type[ask.Moderate]) -> Callable[[str, Place], Intent]:
    def read(text: str, place: Place) -> Intent:
        home, _, who, _ = _in_home(place, text)
        return intent(home=home, target_id=who)

    return read


def _pin(text: str, place: Place) -> Intent:
    channel = _open_channel(place)
    newest = _shown(place)
    if not newest:
        raise IntentError("validation", "nothing was said in this channel")
    return ask.PinMessage(home=channel["context_id"], channel_id=channel["channel_id"], message_id=newest[-1].id)


def _room(text: str, place: Place) -> Intent:
    home, _, name = text.partition(" ")
    return ask.CreateChannel(home=home, name=name)


def _home(text: str, _: Place) -> Intent:
    """Its context is typed again later, so it has no blanks."""
    return ask.DeclareHome(name="-".join(text.split()), title=text or None)


def _welcome(text: str, place: Place) -> Intent:
    home, _, who, _ = _in_home(place, text)
    return ask.SendInvitation(offer="home", home=home, receiver_id=who)


def _create(text: str, place: Place) -> Intent:
    """In the home of the open channel, when that is one."""
    context_id = place.channel.context_id if place.channel is not None else ""
    return ask.CreateChannel(name=text, home=context_id if home_owner(context_id) is not None else None)


def _accept(text: str, place: Place) -> Intent:
    """An invitation when one fits, else an offer of friendship."""
    if any(each.id.startswith(text) for each in place.invitations.pending):
        return ask.AcceptInvitation(invitation_id=_invitation(text, place))
    return ask.AcceptFriendship(contact_id=_who(text, place))


def _help(_: str, __: Place) -> Help:
    width = max(len(f"/{name} {each.usage}") for name, each in COMMANDS.items())
    lines = [f"{f'/{name} {each.usage}':<{width}}  {each.meaning}" for name, each in COMMANDS.items()]
    return Help("\n".join(["PageDown and PageUp leaf through this; what begins with no / is said.", *lines]))


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "create": Command("NAME", "open a channel, in this home if it is one", _create),
        "join": Command("CHANNEL", "be in a channel again", lambda text, _: ask.JoinChannel(channel_id=text)),
        "leave": Command("", "leave this channel", lambda _, place: ask.LeaveChannel(**_open_channel(place))),
        "close": Command("", "close this channel", lambda _, place: ask.CloseChannel(**_open_channel(place))),
        "rename": Command(
            "NAME", "rename this channel", lambda text, place: ask.RenameChannel(**_open_channel(place), name=text)
        ),
        "topic": Command(
            "[TEXT]",
            "change this channel's topic",
            lambda text, place: ask.EditTopic(**_open_channel(place), topic=text),
        ),
        "reply": Command("TEXT", "answer what was said last", _reply),
        "edit": Command("TEXT", "replace what you said last", _edit),
        "delete": Command("", "take back what you said last", _delete),
        "react": Command("SIGN", "put a sign to what somebody else said last", _reacting(is_taken_back=False)),
        "unreact": Command("SIGN", "take that back", _reacting(is_taken_back=True)),
        "merge": Command("CHANNEL", "make this channel part of another one", _merge),
        "read": Command("", "mark this channel as read", _read),
        "notes": Command("", "open your own notes", lambda _, __: ask.OpenNotes()),
        "dm": Command(
            "WHO", "write to one person", lambda text, place: ask.OpenDirectMessage(contact_id=_who(text, place))
        ),
        "add": Command("AUTHORITY [NAME]", "add a contact", _add),
        "call": Command("WHO NAME", "name a contact", _call),
        "remove": Command("WHO", "drop a contact", lambda text, place: ask.RemoveContact(contact_id=_who(text, place))),
        "receipts": Command("WHO on|off", "tell a contact what you read, or not", _receipts),
        "guardian": Command(
            "WHO", "make somebody a guardian", lambda text, place: ask.BindGuardian(contact_id=_who(text, place))
        ),
        "befriend": Command(
            "WHO", "offer friendship", lambda text, place: ask.OfferFriendship(contact_id=_who(text, place))
        ),
        "unfriend": Command(
            "WHO", "end or refuse a friendship", lambda text, place: ask.EndFriendship(contact_id=_who(text, place))
        ),
        "invite": Command(
            "WHO",
            "invite somebody",
            lambda text, place: ask.SendInvitation(offer="contact", receiver_id=_who(text, place)),
        ),
        "accept": Command("INVITATION or WHO", "take an invitation or an offer of friendship", _accept),
        "decline": Command(
            "INVITATION",
            "refuse an invitation",
            lambda text, place: ask.DeclineInvitation(invitation_id=_invitation(text, place)),
        ),
        "cancel": Command(
            "INVITATION",
            "take back an invitation",
            lambda text, place: ask.CancelInvitation(invitation_id=_invitation(text, place)),
        ),
        "begin": Command("INVITATION", "begin to make an accepted invitation binding", _of_ceremony(ask.BeginCeremony)),
        "agree": Command("INVITATION", "agree to that", _of_ceremony(ask.AgreeToCeremony)),
        "finish": Command("INVITATION", "make it binding, when all have agreed", _of_ceremony(ask.CommitCeremony)),
        "abort": Command("INVITATION", "end its ceremony without a result", _of_ceremony(ask.AbortCeremony)),
        "home": Command("NAME", "found a home", _home),
        "room": Command("CONTEXT NAME", "open a channel in the home of that context", _room),
        "welcome": Command("WHO", "invite somebody to this home", _welcome),
        "mute": Command("WHO [SECONDS]", "hide what somebody says in this home", _mute),
        "unmute": Command("WHO", "lift that", _of_person(ask.Unmute)),
        "ban": Command("WHO [REASON]", "keep somebody out of this home", _ban),
        "unban": Command("WHO", "let them in again", _of_person(ask.Unban)),
        "kick": Command("WHO [REASON]", "put somebody out of this channel", _kick),
        "pin": Command("", "hold up what was said last", _pin),
        "moderator": Command("WHO", "let somebody moderate this home", _of_person(ask.GrantModerator)),
        "unmoderator": Command("WHO", "let them moderate no longer", _of_person(ask.RevokeModerator)),
        "sync": Command("ADDRESS", "exchange with a peer once", lambda text, _: Errand("sync", text)),
        "link": Command("ADDRESS", "stay in touch with a peer", lambda text, _: Errand("link", text)),
        "unlink": Command("ADDRESS", "let a peer go", lambda text, _: Errand("unlink", text)),
        "help": Command("", "list the commands", _help),
    }
)
"""The commands by name."""
