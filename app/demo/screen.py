"""The picture: two panes, one for each replica, and a footer, for whatever width and height the terminal has.

Pure: a view of the stage in, something rich can print out. Reads no terminal and no clock. Colour only repeats what a
word or a mark says already, so that nothing is lost without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from rich.box import ROUNDED
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from antiphon.views.chat_state import DELIVERY_ICONS, DeliveryState
from antiphon.views.contacts_state import RelationshipState

from .cues import PLAYERS, Player
from .pane import ChannelLine, ContactLine, InvitationLine, MessageLine, Pane
from .report import Latency

# Below this a pane of its own half would be narrower than a message is long.
SIDE_BY_SIDE_WIDTH_MIN = 84
_FOOTER_ROWS = 4
# In fewer rows all channels share one line, and so do contacts and invitations.
_ROOMY_ROWS_MIN = 14
_BORDER_ROWS = 2
_MESSAGES_MIN = 2
# Beyond this a taller terminal shows no more that matters.
_HEIGHT_MAX = 36
_NAME_WIDTH = 12

_COLOURS: Mapping[Player, str] = MappingProxyType({"ada": "magenta", "bob": "cyan"})
_STATUS_STYLES: Mapping[DeliveryState, str] = MappingProxyType(
    {"sending": "dim", "failed": "bold red", "sent": "dim", "delivered": "blue", "read": "bold green"}
)
_RELATIONSHIPS: Mapping[RelationshipState, str] = MappingProxyType(
    {
        "contact": "contact",
        "pending_outbound": "asked, no answer yet",
        "pending_inbound": "asks to be a friend",
        "friend": "friend",
    }
)


class StageView(NamedTuple):
    """All that a picture shows; ``step`` of ``step_count`` is on, latencies are those measured so far."""

    title: str
    step: int
    step_count: int
    is_linked: bool
    panes: Mapping[Player, Pane]
    commit: Latency | None
    signal: Latency | None
    byte_count: int
    fingerprints: Mapping[Player, str]


def draw(view: StageView, *, width: int, height: int) -> RenderableType:
    """The picture of *view* for a terminal of *width* columns and *height* rows; it takes one row less at most."""
    rows = min(height - 1, _HEIGHT_MAX) - _FOOTER_ROWS
    panes = [view.panes.get(player) or Pane(player, False, 0, 0, 0) for player in PLAYERS]
    if width >= SIDE_BY_SIDE_WIDTH_MIN:
        grid = Table.grid(expand=True)
        for _ in panes:
            grid.add_column(ratio=1)
        grid.add_row(*(_draw_pane(pane, rows) for pane in panes))
        return Group(grid, _draw_footer(view, width))
    if rows // 2 <= _BORDER_ROWS:
        return Group(*(_title_of(pane) for pane in panes), _draw_footer(view, width))
    return Group(*(_draw_pane(pane, rows // 2) for pane in panes), _draw_footer(view, width))


def printable(text: str) -> str:
    """*text* without what would move a terminal's cursor or change its colours.

    >>> printable("a\\x1b[31mb")
    'a·[31mb'
    """
    return "".join(letter if letter.isprintable() else "·" for letter in text)


def _draw_pane(pane: Pane, rows: int) -> Panel:
    room = rows - _BORDER_ROWS
    lines = _full_lines(pane) if room >= _ROOMY_ROWS_MIN else _compact_lines(pane)
    head = lines[: max(room - _MESSAGES_MIN - 1, 0)]
    count = max(room - len(head) - 1, 0)
    messages = [_message_text(message) for message in pane.messages[-count:]] if count else []
    body = [*head, Text("─" * 300, style="dim"), *messages]
    body += [Text("")] * (room - len(body))
    for line in body:
        line.no_wrap = True
        line.overflow = "crop" if line.plain.startswith("─") else "ellipsis"
    return Panel(
        Group(*body[:room]),
        title=_title_of(pane),
        subtitle=f"{pane.facts:,} facts · {pane.windows:,} windows",
        box=ROUNDED,
        border_style=_COLOURS[pane.player] if pane.is_linked else "dim",
        padding=(0, 1),
        height=rows,
    )


def _title_of(pane: Pane) -> Text:
    unread = f" · {pane.total_unread} unread" if pane.total_unread else ""
    state = "linked" if pane.is_linked else "apart"
    return Text.assemble((pane.player, f"bold {_COLOURS[pane.player]}"), f" · {state}{unread}")


def _full_lines(pane: Pane) -> list[Text]:
    return [
        *(_channel_text(channel) for channel in pane.channels),
        *(_contact_text(contact) for contact in pane.contacts),
        *(_invitation_text(invitation) for invitation in pane.invitations),
    ]


def _compact_lines(pane: Pane) -> list[Text]:
    channels = [_channel_text(channel._replace(topic="")) for channel in pane.channels]
    others = [_contact_text(contact) for contact in pane.contacts]
    others += [_invitation_text(invitation) for invitation in pane.invitations]
    return [Text("  ").join(texts) for texts in (channels, others) if texts]


def _channel_text(channel: ChannelLine) -> Text:
    unread = (f" · {channel.unread_count} unread", "bold yellow") if channel.unread_count else ""
    return Text.assemble(
        (f"#{printable(channel.name)}", "bold"),
        f" {channel.message_count}",
        unread,
        (f"  {printable(channel.topic)}", "dim") if channel.topic else "",
    )


def _contact_text(contact: ContactLine) -> Text:
    style = "green" if contact.relationship == "friend" else ""
    return Text.assemble("☺ ", printable(contact.name), " · ", (_RELATIONSHIPS[contact.relationship], style))


def _invitation_text(invitation: InvitationLine) -> Text:
    way = "invited to" if invitation.is_sent else "invitation to"
    style = "green" if invitation.status == "accepted" else "yellow"
    return Text.assemble("✉ ", way, f" #{printable(invitation.home)} · ", (invitation.status, style))


def _message_text(message: MessageLine) -> Text:
    name = printable(message.sender)[:_NAME_WIDTH]
    mark = ""
    if message.is_own:
        # A read and a delivered message have the same two ticks and differ by colour; here by a word as well.
        mark = DELIVERY_ICONS[message.status] + (" read" if message.status == "read" else "")
    elif not message.is_read:
        mark = "new"
    return Text.assemble(
        (f"{mark:<8}", _STATUS_STYLES[message.status] if message.is_own else "bold yellow"),
        (f"{name} ", "bold"),
        printable(message.text),
        (" (edited)", "dim") if message.is_edited else "",
    )


def _draw_footer(view: StageView, width: int) -> RenderableType:
    link = ("● linked", "green") if view.is_linked else ("○ apart", "yellow")
    values = list(view.fingerprints.values())
    is_equal = len(values) == len(PLAYERS) and len(set(values)) == 1
    prints = " ".join(f"{name} {value[:8]}" for name, value in view.fingerprints.items())
    lines = [
        Text.assemble((f"{view.step}/{view.step_count} ", "dim"), (view.title, "bold")),
        Text.assemble(link, f" · fingerprints {'equal' if is_equal else 'differ'} · {prints}"),
        Text(f"commit {_short(view.commit)}{f' · {view.byte_count:,} bytes' if view.byte_count else ''}"),
        Text(f"commit → signal at the other's {_short(view.signal)}"),
    ]
    for line in lines:
        line.no_wrap = True
        line.overflow = "ellipsis"
        line.truncate(width)
    return Group(*lines)


def _short(latency: Latency | None) -> str:
    return f"p50 {latency.p50:.1f} p99 {latency.p99:.1f} ms" if latency else "–"
