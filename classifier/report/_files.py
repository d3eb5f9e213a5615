"""Opens what is written to: a file that is whole or not there at all, a stream, or stdout."""

import contextlib
import errno
import io
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from classifier.errors import ResourceError

__all__ = ["Sink", "output", "write_text"]


class Sink:
    """What writers write to: counts bytes, so that a pipe will do, and names its place in errors.

    Parameters
    ----------
    stream : binary file object
    place : str
        Path for error messages; empty for a stream, whose errors are passed on as they are.
    """

    def __init__(self, stream: BinaryIO, place: str) -> None:
        self._stream = stream
        self._place = place
        self._written = 0
        self.closed = False

    def write(self, data: Any) -> int:
        """Write all of a bytes-like object."""
        view = memoryview(data).cast("B")
        try:
            done = 0
            while done < view.nbytes:  # a raw stream may take less than it is given
                done += self._stream.write(view[done:]) or 0
        except OSError as error:
            raise self._named(error) from error
        self._written += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        """Return the number of bytes written."""
        return self._written

    def flush(self) -> None:
        """Flush the stream."""
        try:
            self._stream.flush()
        except OSError as error:
            raise self._named(error) from error

    def close(self) -> None:
        """Mark as closed; whoever opened the stream closes it."""
        self.closed = True

    def readable(self) -> bool:
        """Return False."""
        return False

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return False."""
        return False

    def _named(self, error: OSError) -> OSError | ResourceError:
        return _cannot_write(self._place, error) if self._place else error


def _cannot_write(place: str, error: OSError) -> ResourceError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ResourceError("the folder does not exist", path=place, remedy="make it first")
    if isinstance(error, IsADirectoryError):
        return ResourceError("is a folder", path=place, remedy="name a file in it")
    if isinstance(error, PermissionError):
        problem = "may not be written"
        return ResourceError(problem, path=place, remedy="choose a place that you may write to")
    reason = os.strerror(error.errno) if error.errno else str(error)
    full = error.errno == errno.ENOSPC
    remedy = "make room, or choose another place" if full else "choose another place"
    return ResourceError(f"cannot be written ({reason})", path=place, remedy=remedy)


@contextlib.contextmanager
def output(target: "str | os.PathLike[str] | BinaryIO") -> Iterator[Sink]:
    """Open a target for writing.

    A regular file is written beside its place and renamed when all is done, so that nobody ever
    reads half of it; on any error nothing is left. Devices and pipes are written directly.

    Parameters
    ----------
    target : path, ``-`` for standard output, or binary file object

    Raises
    ------
    ResourceError
        If the place cannot be written.
    """
    if not isinstance(target, str | os.PathLike):
        sink = Sink(target, "")
        yield sink
        sink.flush()
    elif os.fspath(target) == "-":
        yield from _standard_output()
    else:
        try:
            path = Path(target).resolve()  # through a symbolic link, which a rename would replace
            device = path.exists() and not path.is_file() and not path.is_dir()
        except ValueError as error:
            raise ResourceError(str(error), path=repr(str(target)), remedy="check it") from error
        except OSError as error:
            raise _cannot_write(str(target)[:200], error) from error
        yield from (_device if device else _whole_file)(path, str(target))


def _standard_output() -> Iterator[Sink]:
    sys.stdout.flush()
    binary: BinaryIO | None = getattr(sys.stdout, "buffer", None)
    if binary is not None:
        sink = Sink(binary, "")
        yield sink
        sink.flush()
    else:  # a notebook's stdout takes text alone
        held = io.BytesIO()
        yield Sink(held, "")
        sys.stdout.write(held.getvalue().decode("utf-8", "backslashreplace"))


def _device(path: Path, place: str) -> Iterator[Sink]:
    try:
        stream = path.open("wb", buffering=0)
    except OSError as error:
        raise _cannot_write(place, error) from error
    with stream:
        yield Sink(stream, place)


def _whole_file(path: Path, place: str) -> Iterator[Sink]:
    if path.is_dir():
        raise _cannot_write(place, IsADirectoryError())
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.part")
    try:
        stream = temporary.open("xb")
    except OSError as error:
        raise _cannot_write(place, error) from error
    try:
        sink = Sink(stream, place)
        yield sink
        sink.flush()
        try:
            stream.close()
            temporary.replace(path)
        except OSError as error:
            raise _cannot_write(place, error) from error
    finally:
        with contextlib.suppress(OSError):  # what is left in its buffer cannot be written either
            stream.close()
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(text: str, target: "str | os.PathLike[str] | BinaryIO") -> None:
    """Write a text as UTF-8, whole or not at all.

    Raises
    ------
    ResourceError
        If the place cannot be written.
    """
    with output(target) as sink:
        sink.write(text.encode("utf-8", "backslashreplace"))
