"""How each state looks on a terminal: lines of text with styles of ours. Pure; what people wrote is never markup."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.text import Text

from antiphon.app.acknowledged import Acknowledged
from antiphon.app.inspection import InspectorState, SeenWindow
from antiphon.app.printable import clean, show_time
from antiphon.facts import CeremonyStatus
from antiphon.reactive import AppError, SyncStatus
from antiphon.views.chat_state import ChannelKey, ChatState, Message
from antiphon.views.contacts_state import ContactsState
from antiphon.views.homes_state import Home, HomesState, Pin
from antiphon.views.invitations_state import Invitation, InvitationsState

_SYNC_MARKS = {"idle": "○ offline", "syncing": "◐ syncing", "synced": "● in sync", "failed": "⚠ sync failed"}
_OFFERS = {"contact": "contact", "guardian": "guardian", "channel": "home", "device": "device"}
_RELATIONS = {"contact": "", "pending_outbound": "friendship offered", "pending_inbound": "offers friendship"}


def key_text(key: ChannelKey) -> str:
    """A channel's key as one text; ids may hold anything but this separator's place is told by the context's end."""
    return f"{len(key.context_id)}:{key.context_id}{key.channel_id}"


def channel_lines(state: ChatState) -> list[tuple[str, Text]]:
    """The channels to choose from, by name."""
    channels = sorted(state.channels.items(), key=lambda item: (item[1].name.casefold(), item[0]))
    return [
        (
            key_text(key),
            Text.assemble(
                ("@ " if channel.is_dm else "# ", "dim"),
                clean(channel.name),
                (f"  {channel.unread_count}" if channel.unread_count else "", "bold"),
            ),
        )
        for key, channel in channels
    ]


NO_CHANNEL = "No channel is open. /create NAME makes one, /help lists what else there is."


def message_items(
    state: ChatState,
    channel_key: str | None,
    acknowledged: Acknowledged | None = None,
    older: Sequence[Message] = (),
) -> list[Message | str]:
    """The chosen channel: a line about it, and what is shown of what was said, with what peers acknowledged.

    *older* are those before, which somebody scrolled back to.
    """
    key = next((each for each in state.channels if key_text(each) == channel_key), None)
    if key is None:
        return [NO_CHANNEL]
    channel, newest = state.channels[key], state.messages[key]
    known = {message.id for message in newest}
    messages = (*(each for each in older if each.id not in known), *newest)
    title = f"{channel.name} · {channel.topic}" if channel.topic else channel.name
    if channel.message_count > len(messages):
        title += f" · {channel.message_count - len(messages):,} earlier messages (page up)"
    return [title, *(messages if acknowledged is None else map(acknowledged.marked, messages))]


def message_line(item: object) -> Text:
    """A message, or the line about the channel."""
    return _message_line(item) if isinstance(item, Message) else Text(clean(str(item)), style="bold")


def _message_line(message: Message) -> Text:
    mark = "◆" if message.is_finalized else message.icon if message.is_own else " "
    notes = [
        *(["edited"] if message.edit_count else []),
        *(["reply"] if message.reply_to else []),
        *([f"imported by {message.imported_by_label or 'somebody'}"] if message.imported_by is not None else []),
    ]
    return Text.assemble(
        (f"{show_time(message.timestamp, form='%H:%M')} {mark:<2} ", "dim"),
        (f"{clean(message.sender_name)}: ", "bold" if message.is_own else "bold cyan"),
        clean(message.content),
        (f"  ({clean(', '.join(notes))})" if notes else "", "dim"),
        (_reactions_of(message), "yellow"),
    )


def _reactions_of(message: Message) -> str:
    return "".join(f"  {clean(sign)} {len(people)}" for sign, people in message.reactions)


def contact_lines(state: ContactsState) -> Text:
    """Everybody, by name."""
    if not state.contacts:
        return Text("Nobody yet. /add AUTHORITY NAME adds somebody.", style="dim")
    return Text("\n").join(
        Text.assemble(
            (clean(contact.effective_name), "bold"),
            ("  ♥ friend" if contact.relationship_state == "friend" else "", "green"),
            (f"  {_RELATIONS.get(contact.relationship_state, '')}", "yellow"),
            ("  ⛨ guardian" if contact.is_guardian else "", "cyan"),
            (f"  {clean(contact.id)}", "dim"),
        )
        for contact in state.by_name()
    )


def invitation_lines(state: InvitationsState) -> Text:
    """What waits for an answer, here and elsewhere, and what ended."""
    parts = (("Waiting for you", state.pending), ("Waiting for others", state.sent), ("Ended", state.history))
    lines = [Text("No invitations.", style="dim")] if not any(items for _, items in parts) else []
    for title, items in parts:
        if items:
            lines += [Text(title, style="bold"), *map(_invitation_line, items)]
    return Text("\n").join(lines)


def _invitation_line(invitation: Invitation) -> Text:
    to = invitation.to_name or "whoever holds the link"
    other = f"from {invitation.from_name}" if invitation.direction == "received" else f"to {to}"
    return Text.assemble(
        (f"  {clean(invitation.id[:8])}  ", "dim"),
        f"{_OFFERS[invitation.offer]} {clean(other)}",
        (f"  {invitation.status}", "yellow" if invitation.status == "pending" else "dim"),
        (f"  until {show_time(invitation.expires_at)}" if invitation.expires_at is not None else "", "dim"),
        f"  {clean(invitation.message)}" if invitation.message else "",
        *(("\n      " + _ceremony_line(each), "dim") for each in invitation.ceremonies),
    )


def _ceremony_line(ceremony: CeremonyStatus) -> str:
    agreed = "" if ceremony.required is None else f", {ceremony.received} of {ceremony.required} agreed"
    reason = f": {clean(ceremony.reason)}" if ceremony.reason else ""
    return f"ceremony {clean(ceremony.ceremony_id[:8])} {ceremony.phase.value.replace('_', ' ')}{agreed}{reason}"


def home_lines(state: HomesState, chat: ChatState, name_of: Callable[[str], str | None]) -> Text:
    """Every home: its people by role, what is laid on whom, and what is held up; names come from elsewhere."""
    if not state.homes:
        return Text("No home yet. /home NAME founds one, /welcome WHO invites somebody.", style="dim")
    drawing = _HomeDrawing(chat, name_of)
    homes = sorted(state.homes.values(), key=lambda home: (home.name.casefold(), home.context_id))
    return Text("\n").join(line for home in homes for line in drawing.lines_of(home))


class _HomeDrawing:
    def __init__(self, chat: ChatState, name_of: Callable[[str], str | None]) -> None:
        self._chat = chat
        self._name_of = name_of
        said = (each for messages in chat.messages.values() for each in messages if each.imported_by is None)
        self._signed = {each.sender_id: each.sender_name for each in said}

    def lines_of(self, home: Home) -> list[Text]:
        lines = [Text.assemble((clean(home.name or home.context_id), "bold"), (f"  {clean(home.context_id)}", "dim"))]
        for person in sorted({home.owner_id, *home.members}, key=lambda each: (each != home.owner_id, each)):
            lines.append(Text.assemble(f"  {self._named(person)}", (f"  {home.role_of(person) or ''}", "cyan")))
        for title, sanctions in (("banned", home.bans), ("muted", home.mutes)):
            for each in sanctions:
                place = "" if each.channel_id is None else f" in {self._channel(home, each.channel_id)}"
                until = "" if each.expires_at is None else f" until {show_time(each.expires_at)}"
                reason = f": {clean(each.reason)}" if each.reason else ""
                told = f"  {self._named(each.target_id)} is {title}{place}{until} by {self._named(each.actor_id)}"
                lines.append(Text(told + reason, style="yellow"))
        for pin in home.pins:
            told = f"  pinned in {self._channel(home, pin.channel_id)}: {self._said(home, pin)}"
            lines.append(Text(told, style="dim"))
        for kick in home.kicks:
            place = self._channel(home, kick.channel_id)
            told = f"  {self._named(kick.target_id)} was put out of {place} {show_time(kick.kicked_at)}"
            lines.append(Text(told, style="dim"))
        return lines

    def _named(self, person: str) -> str:
        """A contact by the name one gave them; others as they call themselves, with the id that they cannot choose."""
        known, signed = self._name_of(person), self._signed.get(person)
        return clean(known or (f"{signed} ({person[:8]})" if signed else person[:8]))

    def _channel(self, home: Home, channel_id: str) -> str:
        channel = self._chat.channel(channel_id, context_id=home.context_id)
        return clean(channel_id[:8] if channel is None else channel.name)

    def _said(self, home: Home, pin: Pin) -> str:
        shown = self._chat.messages_in(pin.channel_id, context_id=home.context_id)
        found = next((each for each in shown if each.id == pin.message_id), None)
        return "a message that is not shown" if found is None else clean(found.content[:60])


def window_items(state: InspectorState) -> Sequence[SeenWindow | str]:
    """The windows, newest first."""
    return state.windows or ("Nothing came in since this was opened.",)


def window_lines(item: object) -> Text:
    """A window: the facts in it, and who was recomputed for them and why."""
    if not isinstance(item, SeenWindow):
        return Text(str(item), style="dim")
    lines = [Text(f"window {item.number} · {item.fact_count} facts", style="bold")]
    for fact in item.facts:
        lines.append(
            Text.assemble(
                (f"  {fact.fact_id[:8]} {show_time(fact.at, form='%H:%M:%S')} ", "dim"),
                (f"{clean(fact.kind)} ", "cyan"),
                f"{clean(fact.author)} ",
                (clean(fact.summary), "dim"),
                (f"  ⚠ hidden: {clean(fact.hidden)}" if fact.hidden else "", "yellow"),
            )
        )
    for run in item.runs:
        mark, style = ("→", "") if run.is_changed else ("=", "dim")
        lines.append(Text(f"  {mark} {clean(run.signal_id)}: {clean(run.why)}", style=style))
    return Text("\n").join(lines)


def sync_line(status: SyncStatus) -> Text:
    """Where replication stands."""
    counts = f" ↓{status.received} ↑{status.sent}" if status.state != "idle" else ""
    reason = f": {status.reason}" if status.reason else ""
    return Text(clean(f"{_SYNC_MARKS[status.state]}{counts}{reason}"), style="red" if status.state == "failed" else "")


def unread_line(count: int) -> Text:
    """The badge."""
    return Text(f"{count} unread" if count else "all read", style="bold" if count else "dim")


def error_line(error: AppError | None) -> Text:
    """The newest trouble."""
    return Text(clean(f"⚠ {error.text}") if error else "", style="red")
