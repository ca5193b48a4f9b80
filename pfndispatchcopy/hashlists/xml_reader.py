"""XML of unknown origin, read as it comes in: the one reader of both kinds of media hash lists.

A list may have been put on a card by anybody, and be of any size. What makes XML dangerous or endless is refused:
document types, and with them all entities, encodings but UTF-8, depth, and anything that goes on for ever. What is
kept at a time is one entry of the list and the bytes that are on their way through the parser.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, NoReturn, TypeVar
from xml.parsers import expat

from pfndispatchcopy.hashlists.entries import UntrustedListError
from pfndispatchcopy.hashlists.excerpt import excerpt
from pfndispatchcopy.hashlists.paths import LONGEST_PATH

__all__ = ["Element", "Root", "Shape", "read_records", "root_of"]

# Bytes that the parser gets at once. Every limit below is looked at in between, so that it can be exceeded by
# this much; more makes no difference to the speed.
_SLICE = 1 << 16
# The formats themselves need 6; the rest is for what others put into the metadata of an entry.
_DEEPEST = 64
_MOST_ATTRIBUTES = 64
# Characters of the text of one element, or of the value of one attribute: the longest there is is a path.
_LONGEST_TEXT = LONGEST_PATH
# Bytes without a tag and without text. It has to exceed the longest text, every character of it written as "&amp;".
_LONGEST_SILENCE = 1 << 20
# Of one entry, elements and characters: the longest entry is that of the patterns of what a list leaves out.
_MOST_ELEMENTS = 10_000
_MOST_CHARACTERS = 1 << 20
# Names of elements and attributes, all of which the parser keeps. The formats have some 40.
_MOST_NAMES = 1000

_TOO_EARLY = frozenset(
    expat.errors.codes[message]
    for message in (
        expat.errors.XML_ERROR_NO_ELEMENTS,
        expat.errors.XML_ERROR_PARTIAL_CHAR,
        expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
        expat.errors.XML_ERROR_UNCLOSED_TOKEN,
    )
)


_Entry = TypeVar("_Entry")


class Shape(NamedTuple):
    """What of a document is looked at.

    Attributes:
        root: the root element, ``namespace}name``, or the name alone where there is no namespace.
        records: the elements that are handed out, as paths below the root, such as ``hashes/hash``.
        known: the names that count within records. Every other element is passed over with all that is in it,
            and so is every element of another namespace than the root's.
    """

    root: re.Pattern[str]
    records: frozenset[str]
    known: frozenset[str]


class Root(NamedTuple):
    """The root element of a document; *namespace* is empty where it has none."""

    namespace: str
    name: str
    attributes: Mapping[str, str]


class Element:
    """One element with what is known of its inside.

    Attributes:
        name: without its namespace.
        attributes: by name; one of a namespace is called ``namespace}name``.
        line: of the document, counted from 1; of a record, and 0 for what is in it.
        text: what is directly in it, with every space.
        children: the known elements in it.
    """

    __slots__ = ("attributes", "children", "is_divided", "line", "name", "text")

    def __init__(self, name: str, attributes: Mapping[str, str], line: int) -> None:
        self.name = name
        self.attributes = attributes
        self.line = line
        self.text = ""
        self.children: list[Element] = []
        self.is_divided = False  # whether anything but text is in it

    def only(self, name: str) -> "Element | None":
        """Return the one child called *name*, or None.

        Raises:
            UntrustedListError: there are several.
        """
        found = None
        for child in self.children:
            if child.name == name:
                if found is not None:
                    raise UntrustedListError(f"<{self.name}> has more than one <{name}>")
                found = child
        return found


def read_records(
    chunks: Iterable[bytes], shape: Shape, understand: Callable[[Element], Iterable[_Entry]]
) -> Iterator[_Entry]:
    """Read a document as it comes in, and hand out what its records say.

    Args:
        chunks: the bytes of the document, cut anywhere.
        shape: what of it is looked at.
        understand: says what one record means; its errors get the line of the record.

    Yields:
        What *understand* found, in the order of the document. That the document is sound to its end is known
        only when it has ended.

    Raises:
        UntrustedListError: it is not well-formed, not of this shape, or exceeds a limit.
    """
    reader = _Reader(shape)
    for record in reader.read(chunks):
        try:
            entries = tuple(understand(record))
        except UntrustedListError as error:
            raise UntrustedListError(f"line {record.line}: {error}") from None
        yield from entries


def root_of(beginning: bytes) -> Root:
    """Return the root element of a document that begins with these bytes.

    Raises:
        UntrustedListError: they are no beginning of XML, or the root element is not among them.
    """
    found: list[Root] = []

    def note(name: str, attributes: Mapping[str, str]) -> None:
        if not found:
            namespace, _, local = name.rpartition("}")
            found.append(Root(namespace, local, attributes))

    _check_encoding(beginning)
    parser = _hardened_parser()
    parser.StartElementHandler = note
    try:
        parser.Parse(beginning, False)
    except expat.ExpatError as error:
        if not found:
            raise _not_well_formed(error) from None
    if not found:
        raise UntrustedListError(f"no root element in the first {len(beginning)} bytes")
    return found[0]


def _check_encoding(beginning: bytes) -> None:
    """Refuse what can be no UTF-8, before it is called garbage.

    Raises:
        UntrustedListError: it begins with the mark of another encoding, or with a NUL among its first characters.
    """
    if beginning.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in beginning[:4]:
        raise UntrustedListError("the list is written in UTF-16 or UTF-32, or is no text; UTF-8 is what can be read")


class _Reader:
    """Builds the records of one document out of what the parser reports."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._containers = {path[:at] for path in shape.records for at, each in enumerate(path) if each == "/"}
        self._parser = _hardened_parser()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.CommentHandler = self._aside
        self._parser.ProcessingInstructionHandler = self._aside
        self._locals: dict[str, str] = {}  # names without the namespace of the document
        self._namespace = ""
        self._depth = 0
        self._passed_over = 0  # how deep in an element that does not count
        self._trail: list[str] = []  # the containers below the root
        self._open: list[Element] = []  # a record, and what is open in it
        self._pieces: list[str] = []
        self._elements = 0  # of the record
        self._characters = 0
        self._ready: list[Element] = []
        self._is_silent = True

    def read(self, chunks: Iterable[bytes]) -> Iterator[Element]:
        silence = 0
        beginning = b""
        for chunk in chunks:
            if len(beginning) < 4:
                beginning += chunk[:4]
                _check_encoding(beginning)
            for start in range(0, len(chunk), _SLICE):
                piece = chunk[start : start + _SLICE]
                self._is_silent = True
                self._feed(piece)
                silence = silence + len(piece) if self._is_silent else 0
                if silence > _LONGEST_SILENCE:
                    self._refuse(f"more than {_LONGEST_SILENCE} bytes without a tag")
                if len(self._parser.intern) > _MOST_NAMES:
                    self._refuse(f"more than {_MOST_NAMES} names of elements and attributes")
                yield from self._take()
        self._feed(b"", is_last=True)
        yield from self._take()

    def _feed(self, data: bytes, *, is_last: bool = False) -> None:
        try:
            self._parser.Parse(data, is_last)
        except expat.ExpatError as error:
            if is_last and error.code in _TOO_EARLY:
                raise UntrustedListError(f"line {error.lineno}: the list ends too early") from None
            raise _not_well_formed(error) from None

    def _take(self) -> list[Element]:
        ready, self._ready = self._ready, []
        return ready

    def _refuse(self, reason: str) -> NoReturn:
        raise UntrustedListError(f"line {self._parser.CurrentLineNumber}: {reason}")

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._is_silent = False
        self._depth += 1
        if self._depth > _DEEPEST:
            self._refuse(f"elements are nested more than {_DEEPEST} deep")
        if self._depth == 1:
            if not self._shape.root.fullmatch(name):
                self._refuse(f"unexpected root element {excerpt(name)}")
            self._namespace = name[: name.rindex("}") + 1] if "}" in name else ""
            self._measure(attributes)
        elif self._passed_over:
            self._passed_over += 1
            self._measure(attributes)
        else:
            local = self._locals.get(name)
            if local is None:
                local = self._locals[name] = self._local(name)
            if self._open:
                self._start_inside(local, attributes)
            else:
                self._start_outside(local, attributes)

    def _measure(self, attributes: Mapping[str, str]) -> int:
        """Characters of the values, none of which may be too long."""
        total = 0
        for value in attributes.values():
            length = len(value)
            if length > _LONGEST_TEXT:
                self._refuse("an element with too many or too long attributes")
            total += length
        if len(attributes) > _MOST_ATTRIBUTES:
            self._refuse("an element with too many or too long attributes")
        return total

    def _start_inside(self, name: str, attributes: Mapping[str, str]) -> None:
        parent = self._open[-1]
        parent.is_divided = True
        if name not in self._shape.known:
            self._passed_over = 1
            self._measure(attributes)
            return
        if self._pieces:
            self._take_text(parent)
        self._begin(name, attributes)
        parent.children.append(self._open[-1])

    def _start_outside(self, name: str, attributes: Mapping[str, str]) -> None:
        path = "/".join((*self._trail, name)) if self._trail else name
        if path in self._shape.records:
            self._elements = self._characters = 0
            self._begin(name, attributes)
            return
        self._measure(attributes)
        if path in self._containers:
            self._trail.append(name)
        else:
            self._passed_over = 1

    def _begin(self, name: str, attributes: Mapping[str, str]) -> None:
        self._elements += 1
        if attributes:
            self._characters += self._measure(attributes)
        if self._elements > _MOST_ELEMENTS or self._characters > _MOST_CHARACTERS:
            self._refuse_weight()
        self._open.append(Element(name, attributes, 0 if self._open else self._parser.CurrentLineNumber))

    def _refuse_weight(self) -> NoReturn:
        self._refuse(f"an entry of more than {_MOST_ELEMENTS} elements or {_MOST_CHARACTERS} characters")

    def _end(self, _name: str) -> None:
        self._is_silent = False
        self._depth -= 1
        if self._passed_over:
            self._passed_over -= 1
        elif self._open:
            element = self._open.pop()
            if self._pieces:
                self._take_text(element)
            if not self._open:
                self._ready.append(element)
        elif self._trail:
            self._trail.pop()

    def _text(self, text: str) -> None:
        if self._passed_over or not self._open:
            self._is_silent = False
            return
        if self._open[-1].is_divided and not text.strip(" \t\r\n"):
            return  # what an indented list has between its elements
        self._characters += len(text)
        if self._characters > _MOST_CHARACTERS:
            self._refuse_weight()
        self._pieces.append(text)

    def _take_text(self, element: Element) -> None:
        text = "".join(self._pieces) if len(self._pieces) > 1 else self._pieces[0]
        self._pieces.clear()
        if len(text) > _LONGEST_TEXT:
            self._refuse(f"<{element.name}> has more than {_LONGEST_TEXT} characters in it")
        if not element.is_divided:
            element.text = text
        elif element.text or text.strip(" \t\r\n"):
            # One reader would see the text before the break, another one all of it.
            self._refuse(f"<{element.name}> has text and more than text in it")

    def _aside(self, *_: str) -> None:
        if self._open and not self._passed_over:
            self._open[-1].is_divided = True

    def _local(self, name: str) -> str:
        # What is left of a name of another namespace is no name of the formats: it is empty, or has a "}" in it.
        return name.removeprefix(self._namespace) if name.startswith(self._namespace) else ""


def _hardened_parser() -> expat.XMLParserType:
    def refuse(*_: object) -> NoReturn:
        raise UntrustedListError(f"line {parser.CurrentLineNumber}: a document type or an entity, which no list has")

    def check_declaration(_version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in ("utf-8", "utf8", "us-ascii", "ascii"):
            raise UntrustedListError(f"line 1: written in {excerpt(encoding)}; UTF-8 is what can be read")

    # The encoding is given, so that no declaration can make the parser look for another one.
    parser = expat.ParserCreate("utf-8", "}", {})
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    parser.buffer_text = True
    parser.XmlDeclHandler = check_declaration
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    parser.StartNamespaceDeclHandler = lambda _prefix, _uri: None  # so that prefixes count among the names
    return parser


def _not_well_formed(error: expat.ExpatError) -> UntrustedListError:
    return UntrustedListError(f"line {error.lineno}: not well-formed XML ({expat.ErrorString(error.code)})")
