"""Exceptions which a method declares (`@raises`): the class at one side, its name and fields on the wire, and back.

The law: an attrs exception comes back equal, field by field; any other with the same text, cut to what an error
carries. What is not declared at both sides is no business of this module: it travels as `remote`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Final, final

import attrs

from ._codec import Codec
from ._errors import DeclarationError, TooLarge
from ._nodes import Node
from ._texts import cut, text_of
from ._types import Description

_TEXT: Final[Codec[str]] = Codec(str)
LARGEST_FIELDS_BYTES: Final = 64 << 10
"""The most that the fields of an exception may take, so that an error always fits into a frame."""


@attrs.frozen(eq=False)
class _Declared:
    """One class; `codec` is None where only the text travels."""

    cls: type[Exception]
    codec: Codec[Exception] | None
    text: Codec[str] = _TEXT

    def in_json(self) -> _Declared:
        codec = None if self.codec is None else self.codec.in_json()
        return _Declared(self.cls, codec, self.text.in_json())

    def pack(self, error: Exception) -> bytes:
        if self.codec is None:
            only = error.args[0] if len(error.args) == 1 else None
            return self.text.encode(cut(only if isinstance(only, str) else text_of(error)))
        fields = self.codec.encode(error)
        if len(fields) > LARGEST_FIELDS_BYTES:
            raise TooLarge(
                f"the fields of {self.cls.__name__} take {len(fields)} bytes; an error carries {LARGEST_FIELDS_BYTES}"
            )
        return fields

    def unpack(self, data: bytes) -> Exception:
        return self.cls(self.text.decode(data)) if self.codec is None else self.codec.decode(data)


@final
class DeclaredErrors:
    """The exceptions of one method.

    Attributes:
        description: By name, what the other side must know of each: None for one whose text travels.
    """

    def __init__(self, where: str, errors: Sequence[type[Exception]]) -> None:
        self._by_label: dict[str, _Declared] = {}
        self.description: dict[str, Description | None] = {}
        for cls in errors:
            label = cls.__qualname__.rpartition("<locals>.")[2]
            if label in self._by_label and self._by_label[label].cls is not cls:
                raise DeclarationError(f"{where}: @raises has two exceptions of the name {label}; rename one")
            codec = _codec_of(f"{where}, @raises({label})", cls)
            self._by_label[label] = _Declared(cls, codec)
            self.description[label] = None if codec is None else codec.description
        self._labels = {declared.cls: label for label, declared in self._by_label.items()}

    @property
    def nodes(self) -> dict[str, Node]:
        """By name, the type that travels of each: its fields, or a text."""
        return {label: (found.codec or found.text).node for label, found in self._by_label.items()}

    def in_json(self) -> DeclaredErrors:
        """Return the same, whose fields travel as JSON. Raises InvalidMessage: JSON cannot carry the type of one."""
        in_json = copy.copy(self)
        in_json._by_label = {label: declared.in_json() for label, declared in self._by_label.items()}
        return in_json

    def pack(self, error: Exception) -> tuple[str, bytes] | None:
        """Return the name and the fields of an exception; None if neither its class nor a base of it is declared.

        Raises:
            InvalidMessage: A field holds what its type does not admit.
            TooLarge: The fields take more than LARGEST_FIELDS_BYTES.
        """
        label = next((self._labels[cls] for cls in type(error).__mro__ if cls in self._labels), None)
        return None if label is None else (label, self._by_label[label].pack(error))

    def unpack(self, label: str, data: bytes) -> Exception | None:
        """Return the exception; None if it is not declared on this side.

        Raises:
            InvalidMessage: The fields do not fit.
        """
        declared = self._by_label.get(label)
        return None if declared is None else declared.unpack(data)


NO_ERRORS: Final = DeclaredErrors("", ())


def _codec_of(where: str, cls: type[Exception]) -> Codec[Exception] | None:
    if attrs.has(cls):
        try:
            codec: Codec[Exception] = Codec(cls)
        except DeclarationError as error:
            raise DeclarationError(f"{where}: {error}") from error
        if codec.carries_descriptors:
            raise DeclarationError(f"{where}: an exception carries no open descriptors; return them instead")
        return codec
    own = next((base for base in cls.__mro__ if {"__init__", "__new__"} & vars(base).keys()), Exception)
    if own.__module__ == "builtins":
        try:
            cls("text")
        except TypeError:
            pass
        else:
            return None
    raise DeclarationError(
        f"{where}: what its __init__ takes is not known here; decorate it with @attrs.define and declare its fields"
    )
