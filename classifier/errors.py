"""The exception tree.

::

    ClassifierError
    ├── CaptureError
    │   ├── CaptureFormatError      not a capture, or a kind that cannot be read
    │   └── CaptureTruncatedError   ends in the middle of a record (a warning while reading)
    ├── RegistryError               a register, or one of its rows, cannot be used
    │   └── QueryError              a look-up asks for what is no address, time, side ... (a ValueError)
    ├── PolicyError                 a policy cannot be used
    ├── ModelError                  a model cannot be used
    │   └── ModelMismatchError      a model made for other features or another version
    ├── ResourceError               a shipped or named file, or a program, is missing
    └── LabError                    a laboratory run could not be made, or failed its checks

Every message reads ``place: problem; remedy``; the same facts are attributes.
"""

__all__ = [
    "CaptureError",
    "CaptureFormatError",
    "CaptureTruncatedError",
    "ClassifierError",
    "LabError",
    "ModelError",
    "ModelMismatchError",
    "PolicyError",
    "QueryError",
    "RegistryError",
    "ResourceError",
]


class ClassifierError(Exception):
    """Base of all errors that this library raises on purpose.

    Parameters
    ----------
    problem : str
        What is wrong, without place and remedy.
    path : str, optional
        File, or what stands for it (``<bytes>``, ``<stdin>``).
    line : int, optional
        Line in a text file, from 1.
    column : int, optional
        Character in that line, from 1.
    offset : int, optional
        Byte offset in a binary file, from 0.
    remedy : str, optional
        What the user can do.
    """

    def __init__(
        self,
        problem: str,
        *,
        path: str = "",
        line: int | None = None,
        column: int | None = None,
        offset: int | None = None,
        remedy: str = "",
    ) -> None:
        self.problem = problem
        self.path = path
        self.line = line
        self.column = column
        self.offset = offset
        self.remedy = remedy
        super().__init__(problem)

    def __str__(self) -> str:
        """Return ``place: problem; remedy`` on one line, safe for a terminal."""
        position = self.line if self.line is not None else self.offset
        place = self.path if position is None else f"{self.path}:{position}"
        if self.line is not None and self.column is not None:
            place = f"{place}:{self.column}"
        text = f"{place}: {self.problem}" if place else self.problem
        return one_line(f"{text}; {self.remedy}" if self.remedy else text)

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling between processes with all attributes."""
        return _rebuild, (type(self), self.__dict__ | {"problem": self.problem})


def _rebuild(kind: type[ClassifierError], facts: dict[str, object]) -> ClassifierError:
    error = kind(str(facts["problem"]))
    error.__dict__.update(facts)
    return error


def one_line(text: str) -> str:
    """Return a text on one line, with what steers a terminal or is not seen spelled out."""
    line = " ".join(text.split())
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def must_be(
    what: str,
    value: object,
    kinds: type | tuple[type, ...],
    wanted: str,
    path: str = "",
    *,
    none: bool = True,
) -> None:
    """Refuse an argument of another type; None is taken unless told, a bool is no number.

    Raises
    ------
    ClassifierError
        If the value is not of one of the types.
    """
    if value is None and none:
        return
    known = kinds if isinstance(kinds, tuple) else (kinds,)
    number = isinstance(value, bool) and bool not in known
    if not isinstance(value, known) or number:
        problem = f"{what} is of type {type(value).__name__}"
        raise ClassifierError(problem, path=path, remedy=f"give {wanted}")


class CaptureError(ClassifierError):
    """A capture cannot be used."""


class CaptureFormatError(CaptureError):
    """A file is no capture, or of a kind that cannot be read."""


class CaptureTruncatedError(CaptureError):
    """A capture ends in the middle of a record."""


class RegistryError(ClassifierError):
    """A register, or one of its rows, cannot be used."""


class QueryError(RegistryError, ValueError):
    """A look-up in a register asks for what is no address, time, side, protocol or port."""


class PolicyError(ClassifierError):
    """A policy cannot be used."""


class ModelError(ClassifierError):
    """A model cannot be used."""


class ModelMismatchError(ModelError):
    """A model was made for other features or another version."""


class ResourceError(ClassifierError):
    """A shipped or named file, or a program, is missing."""


class LabError(ClassifierError):
    """A laboratory run could not be made, or failed its checks."""
