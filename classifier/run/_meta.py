"""What ``Run.meta`` says: versions, options, and hashes of what went in."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from classifier import __version__
from classifier.pipeline import Options
from classifier.tables import PREVALENCE, SCHEMA_VERSION
from classifier.wire import Source

if TYPE_CHECKING:
    from classifier.model.learned import Scorer
    from classifier.policy import Policy

__all__ = ["descriptions", "meta_of", "policy_meta"]

_PIECE_BYTES = 4 << 20


def descriptions(sources: Sequence[Source]) -> list[dict[str, str]]:
    return [_described(source) for source in sources]


def meta_of(
    sources: Sequence[Source],
    options: Options,
    captures: list[dict[str, str]] | None = None,
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "library_version": __version__,
        "options": options.described(),
        "captures": captures if captures is not None else descriptions(sources),
        "register": options.registry.hash if options.registry is not None else None,
        "policy": policy_meta(options.policy),
        "model": _model_meta(options.model),
        "probabilities": {"calibrated_on": "laboratory runs", "prevalence": PREVALENCE},
    }


def policy_meta(policy: "Policy | None") -> dict[str, str] | None:
    return None if policy is None else {"name": policy.name, "sha256": policy.hash}


def _model_meta(model: "Scorer | None") -> dict[str, Any] | None:
    """Return what scored the flows: a stored model's name and digest, or an estimator's type."""
    if model is None:
        return None
    name = getattr(model, "name", type(model).__name__)
    return {"name": name, "sha256": getattr(model, "card", {}).get("sha256")}


def _sha256(path: Path) -> str:
    """Hash a file by large pieces: between them the GIL is waited for, if others run."""
    digest, room = hashlib.sha256(), memoryview(bytearray(_PIECE_BYTES))
    with path.open("rb", buffering=0) as file:
        while got := file.readinto(room):
            digest.update(room[:got])
    return digest.hexdigest()


def _described(source: Source) -> dict[str, str]:
    """Name and hash a capture; a stream is gone by now."""
    if isinstance(source, bytes | bytearray | memoryview):
        return {"name": "<bytes>", "sha256": hashlib.sha256(source).hexdigest()}
    if isinstance(source, str | Path) and Path(source).is_file():
        return {"name": Path(source).name, "sha256": _sha256(Path(source))}
    name = Path(source).name if isinstance(source, str | Path) and source != "-" else "<stream>"
    return {"name": name, "sha256": ""}
