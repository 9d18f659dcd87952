"""What do a source and its keys have in common: a name, and the section it lies in?"""

from .inventory import SourceEntry
from .value import Value

__all__ = ["OfSource"]


class OfSource(Value):
    """A value about one source; ``SourceData`` and ``KeyData``."""

    _entry: SourceEntry

    @property
    def source(self) -> str:
        """Source name, as it was asked for."""
        return self._entry.name

    @property
    def section(self) -> str:
        """CONTROL, INSTRUMENT or an auxiliary section."""
        return self._entry.section

    @property
    def is_control(self) -> bool:
        """Whether this is of a control source: one entry per train."""
        return self.section == "CONTROL"

    @property
    def is_instrument(self) -> bool:
        """Whether this is of an instrument source: any number of entries per train."""
        return self.section == "INSTRUMENT"

    @property
    def is_reduction(self) -> bool:
        """Whether this is of the auxiliary section REDUCTION."""
        return self.section == "REDUCTION"

    @property
    def is_errata(self) -> bool:
        """Whether this is of the auxiliary section ERRATA."""
        return self.section == "ERRATA"

    @property
    def is_auxiliary(self) -> bool:
        """Whether this is of an auxiliary section."""
        return not (self.is_control or self.is_instrument)
