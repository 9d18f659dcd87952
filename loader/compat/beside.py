"""Objects that pass ``isinstance`` for EXtra-data's classes, for programs that keep EXtra-data.

Such programs, EXtra among them, ask ``isinstance(data, extra_data.KeyData)`` before they use what
the API documents. Python asks an object's ``__class__`` where its type does not match, for proxies
and mocks; that of our objects is EXtra-data's class, where that is imported. Where it is not,
nobody can ask. Errors are classes, which ``except`` compares by type: see ``catalog/model/errors``.
"""

from dataclasses import fields
from typing import Any, TypeVar

from ..select.trains import class_beside

_T = TypeVar("_T")


class BesideExtraData:
    """Base of dataclasses that EXtra-data has by the same name; its ``isinstance`` takes them."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return class_beside(type(self))

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # pickle's own way of making an object refuses one whose __class__ is not its type.
        reduced: Any = super().__reduce_ex__(protocol)
        return (_make, *reduced[1:])


def _make(cls: type[_T]) -> _T:
    return cls.__new__(cls)


def replaced(data: _T, **changes: Any) -> _T:
    """``dataclasses.replace`` for objects of these classes: it goes by ``__class__``."""
    kept = {f.name: getattr(data, f.name) for f in fields(data)}  # type: ignore[arg-type]
    return type(data)(**kept | changes)
