"""The command ``classifier``: options in, exit code out.

Exit 0: done. 1: done, and what ``--fail-on``, ``--expect`` or a bound of ``evaluate`` names
happened. 2: something could not be done; one line each on standard error.
"""

import _thread
import argparse
import contextlib
import gc
import io
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from classifier import __version__
from classifier.commands import COMMANDS
from classifier.commands.shared import complain
from classifier.errors import ClassifierError, one_line

__all__ = ["main", "run"]


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line; of a verb, options may stand between captures."""

    _inner = False  # argparse parses options and positionals in two calls of its own

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse positionals wherever they stand; argparse cannot so with verbs or behind ``--``."""
        if self._inner or self._subparsers is not None or "--" in (args or ()):
            return super().parse_known_args(args, namespace)
        self._inner = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._inner = False

    def error(self, message: str) -> NoReturn:
        complain(one_line(f"{self.prog}: {message}; see {self.prog} --help"))
        raise SystemExit(2)


def _build() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="classifier",
        description="Find VPN flows in recorded traffic and report what a policy would have done.",
    )
    parser.add_argument("--version", action="version", version=f"classifier {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(verbs)
    return parser


def _interrupt_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Send an interrupt again that fell where Python drops exceptions, as in the compiler's calls."""
    if unraisable.exc_type is KeyboardInterrupt:
        threading.Timer(0.05, _thread.interrupt_main).start()
    else:
        sys.__unraisablehook__(unraisable)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    sys.unraisablehook = _interrupt_again
    if isinstance(sys.stdout, io.TextIOWrapper):  # its encoding need not know all that names hold
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        options = _build().parse_args(arguments)
        options.own_process = arguments is None
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except ClassifierError as error:
        complain(error)
        return 2
    except BrokenPipeError:
        # The reader has seen enough; what is still buffered goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        complain("interrupted")
        return 130
    except MemoryError:
        complain("out of memory; split the capture, or use iter_flows")
        return 2
    except OSError as error:
        if error.filename is not None:
            remedy = "check the name and its permissions"
            complain(one_line(f"{error.filename}: {error.strerror}; {remedy}"))
        else:  # files name themselves, so it is what the result is printed to
            complain(f"standard output: cannot be written ({error.strerror}); choose another place")
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except Exception as error:
        fault = "this is a fault of classifier, please report it"
        complain(one_line(f"{type(error).__name__}: {error}; {fault}"))
        if os.environ.get("CLASSIFIER_TRACEBACK"):
            raise
        return 2


def run() -> NoReturn:
    """Run the command as a process of its own, which ends here.

    What would take a tenth of a second of a large capture, and is of no use here, is left out: taking the
    interpreter down object by object; threads for NumPy's linear algebra, which look for work before
    they sleep; and most searches for cycles of objects, of which judging makes none.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(100_000)
    for name in ("stdout", "stderr"):  # None where whoever started the command closed it
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - open to the end
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # ValueError: closed
            stream.flush()
    os._exit(code)
