"""Models on disk: a folder with plain arrays and a card; nothing in it can run code."""

import hashlib
import io
import json
import os
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from classifier.errors import ModelError, ModelMismatchError, must_be
from classifier.model.learned import Model
from classifier.model.novelty import Novelty
from classifier.model.schema import FEATURE_NAMES, feature_schema_hash
from classifier.model.trees import Trees

__all__ = ["load_model", "model_names", "save_model", "write_card"]

FORMAT = "classifier-trees-1"
MOST_BYTES = 256 << 20
_ARRAYS = {
    "threshold": "f4",
    "left": "i4",
    "column": "i4",
    "values": "f8",
    "roots": "i4",
    "quantiles": "f4",
    "seen": "i2",
}
#: What zipfile and numpy say of a damaged file, but for ValueError: encrypted or of another version,
#: broken deflate, a header that is no Python or asks for more memory than there is.
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError),
    *(SyntaxError, tokenize.TokenError, MemoryError),
)


def model_names() -> tuple[str, ...]:
    """Return the names of the models that are shipped."""
    from classifier.resources import locate

    return tuple(sorted(path.parent.name for path in locate("models").glob("*/card.json")))


def load_model(name: str | Path) -> Model:
    """Load a model, shipped or from a folder.

    Parameters
    ----------
    name : str or path
        Name of a shipped model, or a folder with ``model.npz`` and ``card.json``.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        If there is none, or it cannot be read.
    ModelMismatchError
        If it is for other features, or differs from what its card says.
    """
    must_be("a model", name, (str, os.PathLike), "its name or its folder", none=False)
    folder = Path(name)
    if isinstance(name, str) and name in model_names():
        from classifier.resources import locate

        folder = locate(f"models/{name}")
    place = str(folder)
    if not folder.is_dir():
        raise ModelError(
            f"{str(name)!r} is no model that can be loaded",
            remedy="give a folder with model.npz and card.json, none, or one of: "
            + ", ".join(("default", *model_names())),
        )
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        content = _content(folder / "model.npz")
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"cannot be read ({error})",
            path=place,
            remedy="give a folder with model.npz and card.json",
        ) from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise ModelMismatchError(
            "another format", path=place, remedy="train the model with this version"
        )
    if hashlib.sha256(content).hexdigest() != card.get("sha256"):
        raise ModelMismatchError(
            "model.npz is not the file that its card speaks of", path=place, remedy="get both again"
        )
    if card.get("feature_schema") != feature_schema_hash():
        raise ModelMismatchError(
            "it was trained on another schema of features",
            path=place,
            remedy="train the model with this version",
        )
    try:
        return _model(card, content, folder.name)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(
            f"cannot be understood ({error})", path=place, remedy="train it again"
        ) from error


def _content(path: Path) -> bytes:
    if path.stat().st_size > MOST_BYTES:
        raise OSError(f"{path.name} is larger than {MOST_BYTES >> 20} MiB")
    return path.read_bytes()


def _model(card: dict[str, Any], content: bytes, name: str) -> Model:
    arrays = _arrays(content)
    features = tuple(card["features"])
    if not set(features) <= set(FEATURE_NAMES) or len(features) != arrays["quantiles"].shape[0]:
        raise ValueError("features")
    calibration, scope = card["calibration"], card["scope"]
    slope, intercept = float(calibration["slope"]), float(calibration["intercept"])
    if not (slope > 0 and np.isfinite(intercept) and np.isfinite(slope)):
        raise ValueError("calibration")
    trees = Trees(
        **{key: arrays[key] for key in ("threshold", "left", "column", "values", "roots")},
        n_features=len(features),
        base=float(card["trees"]["base"]),
        logistic=bool(card["trees"]["logistic"]),
    )
    return Model(
        name=name,
        features=features,
        trees=trees,
        slope=slope,
        intercept=intercept,
        novelty=Novelty(arrays["quantiles"], arrays["seen"], float(card["novelty"]["limit"])),
        applications=tuple(str(word) for word in scope["applications"]),
        least_packets=int(scope["least_packets"]),
        card=card,
    )


def _arrays(content: bytes) -> dict[str, Any]:
    """Return the arrays of a file; sizes are checked before anything is unpacked."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(item.file_size for item in archive.infolist()) > MOST_BYTES:
                raise ValueError("too large")
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = {key: np.ascontiguousarray(stored[key]) for key in _ARRAYS}
    except _DAMAGED as error:
        raise ValueError(str(error)) from error
    for key, kind in _ARRAYS.items():
        if arrays[key].dtype != kind:
            raise ValueError(key)
    return arrays


def save_model(model: Model, folder: str | Path) -> Path:
    """Write a model and its card; an existing one is replaced.

    Parameters
    ----------
    model : Model
        Its ``card`` may hold more than what is needed to load it.
    folder : path
        Made where missing.

    Returns
    -------
    pathlib.Path
        The folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    trees = model.trees
    buffer = io.BytesIO()
    _save_arrays(
        buffer,
        {
            **{key: getattr(trees, key) for key in ("threshold", "left", "column", "values")},
            "roots": trees.roots,
            "quantiles": model.novelty.quantiles,
            "seen": model.novelty.seen,
        },
    )
    content = buffer.getvalue()
    card = model.card | {
        "format": FORMAT,
        "name": folder.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "feature_schema": feature_schema_hash(),
        "features": list(model.features),
        "trees": {"count": trees.roots.size, "base": trees.base, "logistic": trees.logistic},
        "calibration": {"slope": model.slope, "intercept": model.intercept},
        "novelty": {"limit": model.novelty.limit},
        "scope": {
            "applications": list(model.applications),
            "least_packets": model.least_packets,
        },
    }
    (folder / "model.npz").write_bytes(content)
    write_card(card, folder)
    return folder


def write_card(card: dict[str, Any], folder: Path) -> None:
    """Write a card for programs beside its arrays."""
    text = json.dumps(card, indent=2, sort_keys=True, allow_nan=False)
    (folder / "card.json").write_text(text + "\n", encoding="utf-8")


def _save_arrays(buffer: io.BytesIO, arrays: dict[str, Any]) -> None:
    """Write arrays as ``numpy.savez_compressed`` does, the same bytes for the same arrays."""
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, array in arrays.items():
            item = io.BytesIO()
            np.save(item, array, allow_pickle=False)
            info = zipfile.ZipInfo(f"{key}.npy", (1980, 1, 1, 0, 0, 0))
            archive.writestr(info, item.getvalue(), zipfile.ZIP_DEFLATED)
