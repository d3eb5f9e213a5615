"""Finds shipped models and data sets, in a wheel, an editable install or a bare checkout."""

from pathlib import Path

from classifier.errors import ResourceError

__all__ = ["locate"]


def locate(name: str) -> Path:
    """Return the path of a shipped file or folder.

    Parameters
    ----------
    name : str
        Path below the repository root, such as ``"datasets/demo/manifest.toml"``.

    Returns
    -------
    pathlib.Path
        An existing path: first in the package's own data, then in the checkout beside it.

    Raises
    ------
    ResourceError
        If neither place has it.
    """
    package = Path(__file__).resolve().parent
    for root in (package / "_data", package.parent):
        path = root / name
        if path.exists():
            return path
    raise ResourceError(
        "this shipped file is missing", path=name, remedy="install the package again"
    )
