"""Reading a page as a browser without scripts does: its elements, its text, and what it refers to."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Reader(HTMLParser):
    """Elements in order, the text that is read, and whether every element is closed where it should be."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text, self.scripts, self.problems = "", [""], list[str]()
        self._open: list[str] = []
        self.feed(html)
        self.close()
        if self._open:
            self.problems.append(f"open at the end: {self._open}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if len({name for name, _ in attrs}) != len(attrs):
            self.problems.append(f"an attribute of {tag} twice")
        if tag not in VOID:
            self._open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if "svg" not in self._open:
            self.problems.append(f"{tag} closes itself outside of SVG")

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.problems.append(f"{tag} ends where another element is open")

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.scripts[-1] += data
        elif not self._open or self._open[-1] != "style":
            self.text += data

    @property
    def data(self) -> Any:
        """What the page's own script reads."""
        return json.loads(self.scripts[1])

    @property
    def references(self) -> list[str]:
        """Every address that some attribute or style names."""
        names = ("src", "href", "xlink:href", "srcset", "action", "data", "poster", "background", "cite")
        found = [attributes[name] for _, attributes in self.elements for name in names if name in attributes]
        values = [value for _, attributes in self.elements for value in attributes.values()]
        return found + [address for value in values for address in re.findall(r"url\(([^)]*)\)", value)]

    def headings(self) -> list[str]:
        """The levels of the headings, in order."""
        return [tag for tag, _ in self.elements if re.fullmatch(r"h[1-6]", tag)]
