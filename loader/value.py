"""What is a value made of, and what did it only work out?

``Value`` is the base of frozen dataclasses that remember what they computed (``cached_property``
and the like): such memories are left behind when the value is pickled.
"""

from dataclasses import fields
from typing import Any

__all__ = ["Value"]


class Value:
    """A frozen dataclass whose pickle holds its fields only."""

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: self.__dict__[f.name] for f in fields(self)}  # type: ignore[arg-type]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
