"""Lists, verifies, loads, splits and compares data sets; fetches none.

``demo`` is shipped with the package, ``lab`` lies in a checkout, and the others are brought by their
users: the manifests here name them, with citation, licence and checksums, and know how to read them.

Examples
--------
>>> from classifier import datasets
>>> datasets.load("demo").manifest.licence
'Apache-2.0'
"""

from classifier.datasets._load import Dataset, load, record
from classifier.datasets._manifest import DataFile, Demo, Manifest, demo, list
from classifier.datasets._overlap import Leaks, duplicates, leak_check
from classifier.datasets._splits import Split, grouped_split

__all__ = [
    "DataFile",
    "Dataset",
    "Demo",
    "Leaks",
    "Manifest",
    "Split",
    "demo",
    "duplicates",
    "grouped_split",
    "leak_check",
    "list",
    "load",
    "record",
]
