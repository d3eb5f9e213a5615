"""Data sets are listed by their manifests and verified before use."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from classifier import datasets, resources
from classifier.errors import ResourceError


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder ``datasets`` with one small data set, in the place of the shipped one."""
    folder = tmp_path / "datasets" / "small"
    folder.mkdir(parents=True)
    (folder / "one.pcap").write_bytes(b"packets")
    write_manifest(folder, "one.pcap", hashlib.sha256(b"packets").hexdigest(), 7)
    monkeypatch.setattr(resources, "locate", lambda name: tmp_path / name)
    return folder


def write_manifest(folder: Path, name: str, sha256: str, size: int) -> None:
    (folder / "manifest.toml").write_text(
        'name = "small"\ntitle = "t"\nlicence = "CC0-1.0"\ncitation = "c"\n[[file]]\n'
        f'role = "capture"\nname = "{name}"\nsha256 = "{sha256}"\nsize = {size}\n'
    )


def test_demo_gives_four_existing_files() -> None:
    paths = datasets.demo()
    for path in (paths.capture, paths.labels, paths.register, paths.policy):
        assert path.is_file()


def test_list_holds_the_demo_with_licence_and_files() -> None:
    entry = next(entry for entry in datasets.list() if entry.name == "demo")
    assert entry.licence == "Apache-2.0"
    assert {file.role for file in entry.files} == {"capture", "labels", "register", "policy"}


def test_load_returns_verified_paths(shelf: Path) -> None:
    assert datasets.load("small").files == {"one.pcap": shelf / "one.pcap"}


def test_unknown_name_names_the_known_ones(shelf: Path) -> None:
    with pytest.raises(ResourceError, match="known names: small"):
        datasets.load("large")


def test_file_of_another_size_is_refused(shelf: Path) -> None:
    (shelf / "one.pcap").write_bytes(b"packet")
    with pytest.raises(ResourceError, match="6 bytes, but the manifest says 7") as caught:
        datasets.load("small")
    assert caught.value.path.endswith("one.pcap")
    assert caught.value.remedy


def test_file_with_one_changed_byte_is_refused(shelf: Path) -> None:
    (shelf / "one.pcap").write_bytes(b"Packets")
    with pytest.raises(ResourceError, match="SHA-256"):
        datasets.load("small")


def test_missing_file_is_refused(shelf: Path) -> None:
    (shelf / "one.pcap").unlink()
    with pytest.raises(ResourceError, match="cannot be read"):
        datasets.load("small")


def test_manifest_that_is_no_toml_is_refused(shelf: Path) -> None:
    (shelf / "manifest.toml").write_bytes(b"\xff = [")
    with pytest.raises(ResourceError, match="manifest cannot be read"):
        datasets.list()


@pytest.mark.parametrize("line", ['title = "t"', "size = 7", "[[file]]"])
def test_manifest_without_a_field_is_refused(shelf: Path, line: str) -> None:
    manifest = shelf / "manifest.toml"
    manifest.write_text(manifest.read_text().replace(line, ""))
    with pytest.raises(ResourceError, match="manifest"):
        datasets.list()


@pytest.mark.parametrize("name", ["../one.pcap", "/etc/passwd", "a/b"])
def test_manifest_cannot_name_a_file_outside_its_folder(shelf: Path, name: str) -> None:
    write_manifest(shelf, name, "0" * 64, 7)
    with pytest.raises(ResourceError, match="plain file name"):
        datasets.load("small")


def test_import_loads_nothing_heavy() -> None:
    code = (
        "import sys, classifier.datasets\n"
        "heavy = {'numba', 'numpy', 'pandas', 'pyarrow', 'sklearn', 'pyshark', 'sqlalchemy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(datasets.__file__).parents[2])
