"""The terminal door: chat, contacts, invitations and an inspector over an `AppCore`, with Textual (extra ``tui``)."""
