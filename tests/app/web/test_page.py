"""The page's own files: nothing foreign, nothing inline, labels and landmarks in place, colours that can be read."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import product

import pytest

from antiphon.app.web.site import PAGE_FILES

HTML = PAGE_FILES["index.html"][0].decode()
SCRIPTS = {name: content.decode() for name, (content, _) in PAGE_FILES.items() if name.endswith(".js")}
STYLE = PAGE_FILES["page.css"][0].decode()

# What turns text into markup or code.
SINKS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|createContextualFragment"
    r"|srcdoc|setHTML|javascript:|import\("
)


class Elements(HTMLParser):
    """All elements of the page, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def elements() -> list[tuple[str, dict[str, str | None]]]:
    reader = Elements()
    reader.feed(HTML)
    return reader.found


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_writes_markup(name: str) -> None:
    found = [line for line in SCRIPTS[name].splitlines() if not line.lstrip().startswith("//") and SINKS.search(line)]
    assert not found


def test_a_script_that_writes_markup_is_seen() -> None:
    assert SINKS.search("element.innerHTML = text")


def test_nothing_is_loaded_from_elsewhere_and_nothing_is_inline(
    elements: list[tuple[str, dict[str, str | None]]],
) -> None:
    for tag, attributes in elements:
        assert not any(name.startswith("on") or name == "style" for name in attributes), (tag, attributes)
        for name in ("src", "href"):
            target = attributes.get(name)
            assert target is None or target.startswith("#") or target in PAGE_FILES, target
    assert not re.search(r"https?://", STYLE)
    for script in SCRIPTS.values():
        assert set(re.findall(r'from "\./([^"]+)"', script)) <= set(PAGE_FILES)


def test_every_field_has_a_label_and_every_reference_its_target(
    elements: list[tuple[str, dict[str, str | None]]],
) -> None:
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = {attributes.get("for") for tag, attributes in elements if tag == "label"}
    fields = {attributes["id"] for tag, attributes in elements if tag in ("input", "textarea", "select")}
    assert fields == labelled
    for _, attributes in elements:
        for name in ("aria-controls", "aria-labelledby", "aria-describedby", "list"):
            assert attributes.get(name) is None or attributes[name] in ids


def test_every_id_that_a_script_uses_is_on_the_page(elements: list[tuple[str, dict[str, str | None]]]) -> None:
    ids = {attributes["id"] for _, attributes in elements if "id" in attributes}
    used = {name for script in SCRIPTS.values() for name in re.findall(r'\$\("([^"]+)"\)', script)}
    assert used <= ids


def test_landmarks_live_regions_and_language_are_there(elements: list[tuple[str, dict[str, str | None]]]) -> None:
    tags = [tag for tag, _ in elements]
    assert all(tag in tags for tag in ("header", "nav", "main", "h1", "noscript"))
    roles = {attributes.get("role") for _, attributes in elements}
    assert {"log", "status", "alert", "tablist", "tab", "tabpanel"} <= roles
    assert ("html", {"lang": "en"}) in elements
    viewport = [attributes for _, attributes in elements if attributes.get("name") == "viewport"]
    # A page that forbids zooming cannot be read by everybody.
    assert viewport[0]["content"] == "width=device-width, initial-scale=1"


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2.2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_its_ground(scheme: int) -> None:
    blocks = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[scheme]))
    pairs = [
        *product(("text", "quiet"), ("ground", "raised", "own")),
        *product(("bad", "read", "accent"), ("ground", "own")),
        ("on-accent", "accent"),
    ]
    weak = {pair: round(contrast(colours[pair[0]], colours[pair[1]]), 2) for pair in pairs}
    assert min(weak.values()) >= 4.5, weak


def test_contrast_is_computed_as_wcag_does() -> None:
    assert round(contrast("#ffffff", "#767676"), 2) == 4.54
