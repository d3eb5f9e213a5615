"""Writes ``features.md`` from the schema itself: ``python docs/make_features.py``."""

from pathlib import Path

from classifier.model.iscx import ISCX_FEATURES
from classifier.model.schema import BLOCKS, FEATURE_SCHEMA_VERSION, FEATURES, Feature

PAGE = Path(__file__).parent / "features.md"

HEAD = f"""# Features

What a model may know of a flow: {len(FEATURES)} columns, schema version {FEATURE_SCHEMA_VERSION}. `run.features` and
`classifier.model.compute_features` give them as float32 in this order. Made from `classifier.model.FEATURES` by
`docs/make_features.py`; `classifier.model.feature_schema_hash()` is what a model remembers of it.

- A value that is not defined for a flow is NaN, never 0.
- No address, port, name or time of day is a feature, and none changes one: exchanged for others they give the same rows. Of
  a server name the length counts; the flows of the same two endpoints count by being of the same two.
- `orig_` and `resp_` are alike for both directions: `*_` below stands for both.
- *First packets* are the first 32 of a flow. *With payload* leaves out packets that carry none and, of TCP, segments whose
  sequence number does not go up: the packets of CESNET DataZoo's sequences. Bins and units are DataZoo's too, but the
  histograms here are of the first packets, not of the whole flow.

```python
run.features[["orig_seg1_entropy", "pair_flows"]].describe()
run.sequences().shape
```
"""

TITLES = {
    "flow": "The whole flow",
    "series": "First packets",
    "payload": "First bytes",
    "records": "TLS records",
    "hello": "Client hello",
    "pairs": "Other flows of the same two endpoints",
}


ISCX_HEAD = """
## The 23 time features of ISCXVPN2016

`classifier.model.iscx_features(capture, timeout_s=15)` cuts the flows of a capture into windows and gives a row for each, so
that models trained on the published table apply to any capture. The paper (Draper-Gil et al., ICISSP 2016, table 2) gives
names alone; what they hold was read from the rows of the table. Microseconds; without a value least and greatest are -1, mean
and deviation (of the sample) 0. In the files of 15, 30 and 120 s eight columns have the name of another one; the file of 60 s
names them rightly. `published_names=True` gives the wrong names, for models that were trained on those files.

| column | in the files of 15, 30 and 120 s | unit | what it holds |
|---|---|---|---|
"""


def _rows(block: tuple[Feature, ...]) -> list[str]:
    """Return a table row for each feature, one for both directions and one for all of a sequence."""
    rows = []
    done = set()
    for feature in block:
        name = feature.name
        for side in ("orig_", "resp_"):
            name = "*_" + name.removeprefix(side) if name.startswith(side) else name
        if name.startswith("ppi_") and name[-2:].isdecimal():
            name = name[:-2] + "01..30"
        if name not in done:
            done.add(name)
            formula = feature.formula.replace("from the originator", "from the side", 1)
            if not name.startswith("*_"):
                formula = feature.formula
            formula = formula.replace("|", "\\|")
            rows.append(f"| `{name}` | {feature.unit} | {formula} | {feature.source} |")
    return rows


def page() -> str:
    """Return the whole page."""
    parts = [HEAD]
    for key, block in BLOCKS.items():
        parts.append(
            f"\n## {TITLES[key]}\n\n| feature | unit | what it is | source |\n|---|---|---|---|\n"
        )
        parts.append("\n".join(_rows(block)) + "\n")
    rows = [f"| `{f.name}` | `{f.published}` | {f.unit} | {f.formula} |" for f in ISCX_FEATURES]
    return "".join(parts) + ISCX_HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
