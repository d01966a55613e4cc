"""A labeling configuration as a tree of tags. Knows XML, and nothing of what a tag means."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterator

from omni_timeline.errors import LabelConfigError
from omni_timeline.label_studio.values import shortened

MAX_CHARACTERS = 2_000_000  # in a labeling config; 5,000 labels take a quarter of it
_SPELLINGS = {"audioplus": "audio"}  # old names of tags that the editor still reads


class Tag:
    """A tag; `tag["name"]` is an attribute without the white space around it, "" where it is absent.

    Names of tags and attributes count in any case, as in Label Studio's editor.

    Attributes:
        written: the tag's name as the config has it.
        kind: the same in lower case, of two spellings the newer.
        children: the tags directly in it.
    """

    def __init__(self, element: ET.Element) -> None:
        self.written = str(element.tag)
        self.kind = _SPELLINGS.get(self.written.lower(), self.written.lower())
        self.children: list[Tag] = []
        self._attributes = {name.lower(): value for name, value in element.attrib.items()}

    def __getitem__(self, attribute: str) -> str:
        return self.exact(attribute).strip()

    def exact(self, attribute: str) -> str:
        """An attribute as the config has it, "" where it is absent; Label Studio stores names and labels so."""
        return self._attributes.get(attribute, "")

    @property
    def targets(self) -> list[str]:
        """The names in toName."""
        return [name.strip() for name in self["toname"].split(",") if name.strip()]

    def walk(self, *, not_into: Collection[str] = ()) -> Iterator[Tag]:
        """All tags in this one, in the order of the config; tags of the kinds `not_into` come without what is in them.

        Does not recurse: a config may be nested very deeply.
        """
        waiting = self.children[::-1]
        while waiting:
            tag = waiting.pop()
            yield tag
            if tag.kind not in not_into:
                waiting += reversed(tag.children)


def read_tags(xml: str) -> Tag:
    """The root tag of a labeling configuration.

    Raises:
        LabelConfigError: it is too long, has entities of its own, or is not XML.
    """
    if len(xml) > MAX_CHARACTERS:
        raise LabelConfigError(
            f"The labeling config has {len(xml):,} characters; it must have at most {MAX_CHARACTERS:,}."
        )
    if re.search(r"<!(?:DOCTYPE|ENTITY)", xml, re.IGNORECASE):  # a few lines of entities can grow to gigabytes
        raise LabelConfigError("The labeling config must not have a DOCTYPE or entities of its own; remove them.")
    try:
        element = ET.fromstring(xml.strip())
    except (ET.ParseError, ValueError) as error:
        raise LabelConfigError(f"The labeling config is not well-formed XML: {shortened(str(error))}.") from error
    root = Tag(element)
    waiting = [(element, root)]
    while waiting:
        element, tag = waiting.pop()
        tag.children = [Tag(child) for child in element]
        waiting += zip(element, tag.children, strict=True)
    return root
