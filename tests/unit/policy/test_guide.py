"""The guide to policies shows what works."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from classifier.errors import PolicyError
from classifier.policy import Expression, Policy, builtin_names

GUIDE = (Path(__file__).parents[3] / "docs" / "policy.md").read_text("utf-8")


def test_the_policy_of_the_guide_is_accepted() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    assert len(Policy.from_text(text).rules) == 3


def test_the_conditions_of_the_guide_mean_something() -> None:
    table = GUIDE.split("## Conditions")[1].split("- `not` binds")[0]
    shown = [c for row in table.splitlines()[4:] for c in re.findall(r"`([^`]+)`", row)]
    assert len(shown) >= 8
    for condition in shown:
        assert Expression.parse(condition).can_apply()


def test_the_python_of_the_guide_runs_as_shown(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    script = tmp_path / "guide.py"
    script.write_text(code, "utf-8")
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, script], cwd=root, env={"PYTHONPATH": str(root)}, check=True)


def test_the_guide_names_every_builtin() -> None:
    assert all(f"| `{name}` |" in GUIDE for name in builtin_names())


@pytest.mark.parametrize("text", ["strength == 'certain'", "orig_ip == '10.0.0.0/8'"])
def test_what_the_guide_says_is_refused_is_refused(text: str) -> None:
    with pytest.raises(PolicyError, match="can never apply"):
        Expression.parse(text)


def test_reading_a_policy_loads_neither_pyarrow_nor_pandas_nor_numba() -> None:
    code = (
        "import sys; from classifier.policy import Policy; Policy.open('registered-only');"
        "sys.exit(bool({'pyarrow', 'pandas', 'numba'} & sys.modules.keys()))"
    )
    root = Path(__file__).parents[3]
    subprocess.run(
        [sys.executable, "-c", code], cwd=root, env={"PYTHONPATH": str(root)}, check=True
    )
