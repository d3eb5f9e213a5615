"""What is asked of files and addresses before they are written."""

from pathlib import Path

from classifier.errors import ClassifierError

__all__ = ["not_both", "same_file"]


def same_file(one: str | Path, other: str | Path) -> bool:
    """Return whether two paths are the same file, which is there."""
    try:
        return Path(one).samefile(other)
    except (OSError, ValueError):
        return False


def not_both(keep_addresses: bool) -> None:
    if keep_addresses:
        raise ClassifierError(
            "addresses can be kept or mapped, not both",
            remedy="leave out keep_addresses, or the key",
        )
