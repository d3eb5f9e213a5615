"""The simulation of churn: its counts against a day-by-day count, its means against theory."""

import json
import math
import sys

import numpy as np
import pytest

from classifier.errors import RegistryError, ResourceError
from classifier.registry import ChurnModel, Registry, plot_churn, simulate_churn
from classifier.registry import churn as module

HEADER = "registration_id,organisation,category,prefix,side,proto,port,valid_from,valid_to,status"
NEVER = {"on_time": 1.0, "never": 0.0}


@pytest.fixture
def register(tmp_path):
    def register(n=2000, valid_to="", flags=None, category=lambda k: ("bank", "ngo")[k % 2]):
        path = tmp_path / "r.csv"
        head = HEADER + (",flags" if flags is not None else "")
        rows = [
            f"R-{k},H,{category(k)},9.{k >> 8}.{k & 255}.1,client,any,any,2024-01-01,{valid_to},active"
            + (f",{flags(k)}" if flags is not None else "")
            for k in range(n)
        ]
        path.write_text("\n".join([head, *rows]) + "\n")
        return Registry.open(path)

    return register


def share(churn, day, category="*"):
    frame = churn.frame
    return float(frame[(frame["day"] == day) & (frame["category"] == category)]["share"].iloc[0])


def test_the_same_seed_gives_the_same_result_and_another_one_another(register):
    registry = register(500)
    one, two, other = (simulate_churn(registry, 30, seed=seed, runs=2) for seed in (7, 7, 8))
    assert one.to_json() == two.to_json()
    assert one.to_json() != other.to_json()


def test_nothing_happens_where_nothing_can(register):
    churn = simulate_churn(register(50), 60, runs=2, model=ChurnModel(dynamic_share=0.0))
    assert (churn.frame["unregistered"] == 0).all()
    assert (churn.summary()["ever"] == 0).all()
    assert (churn.frame["holders"].iloc[-1], churn.start) == (50, "2024-01-01")


def test_waiting_for_a_new_address_is_what_theory_says(register):
    # Renewal argument: at any day the age of the address is exponential (cut at the start), and the
    # holder waits if its delay is longer than the age: the mean of exp(-rate * age) over delays.
    model = ChurnModel(dynamic_share=1.0, address_days=20, delay_days=5, delay_sigma=0.0, **NEVER)
    churn = simulate_churn(register(20_000), 60, runs=2, seed=3, model=model)
    expected = 1 - math.exp(-5 / 20)
    assert abs(share(churn, 50) - expected) < 0.01
    assert (
        abs(share(churn, 2) - (1 - math.exp(-2 / 20))) < 0.01
    )  # no change is older than the start
    assert share(churn, 0) == 0


def test_the_spread_of_delays_is_lognormal(register):
    model = ChurnModel(dynamic_share=1.0, address_days=15, delay_days=4, delay_sigma=0.8, **NEVER)
    churn = simulate_churn(register(20_000), 80, runs=2, seed=3, model=model)
    delays = 4 * np.exp(0.8 * np.random.default_rng(0).standard_normal(200_000))
    assert abs(share(churn, 70) - float(np.mean(1 - np.exp(-np.minimum(delays, 70) / 15)))) < 0.01


def test_renewals_that_are_late_or_never_come_are_what_theory_says(register):
    registry = register(20_000, valid_to="2024-01-11")
    model = ChurnModel(dynamic_share=0.0, on_time=0.5, never=0.2, late_days=10, term_days=1000)
    churn = simulate_churn(registry, 40, runs=2, seed=3, start="2024-01-01", model=model)
    assert share(churn, 9) == 0
    assert abs(share(churn, 10) - 0.5) < 0.01
    assert abs(share(churn, 30) - (0.2 + 0.3 * math.exp(-2))) < 0.01
    again = simulate_churn(registry, 40, seed=3, start="2024-01-01", model=ChurnModel(
        dynamic_share=0.0, on_time=0.0, never=1.0, term_days=1000))  # fmt: skip
    assert share(again, 39) == 1.0


def test_terms_go_on_after_each_renewal(register):
    registry = register(5000, valid_to="2024-01-11")
    model = ChurnModel(dynamic_share=0.0, on_time=0.0, never=0.0, late_days=0.5, term_days=10)
    churn = simulate_churn(registry, 35, runs=1, start="2024-01-01", model=model)
    assert share(churn, 10) == 1.0
    assert share(churn, 19) < 0.02
    # the second delay began before day 21 and lasts: one event of a Poisson process with rate 2
    assert abs(share(churn, 21) - 2 * math.exp(-2)) < 0.03


def test_both_causes_count_a_holder_once(register):
    registry = register(2000, valid_to="2024-01-02")
    model = ChurnModel(dynamic_share=1.0, address_days=1, delay_days=30, on_time=0.0, never=1.0)
    churn = simulate_churn(registry, 30, runs=1, start="2024-01-01", model=model)
    last = churn.frame.iloc[-1]
    assert (last["unregistered"], last["expired"]) == (2000, 2000)
    assert last["address_changed"] > 1500
    assert churn.summary()["ever"].iloc[-1] == 1.0


def test_categories_and_causes_add_up(register):
    churn = simulate_churn(register(999, valid_to="2024-02-01"), 60, runs=3, start="2024-01-15")
    frame = churn.frame.set_index(["category", "day"])
    for name in ("holders", "unregistered", "address_changed", "expired"):
        both = frame.loc["bank", name] + frame.loc["ngo", name]
        assert np.allclose(both, frame.loc["*", name])
    total = frame["address_changed"] + frame["expired"]
    assert (frame["unregistered"] <= total + 1e-9).all()
    assert (frame["unregistered"] >= frame[["address_changed", "expired"]].max(axis=1) - 1e-9).all()


def test_flags_of_the_register_say_who_is_dynamic(register):
    registry = register(1000, flags=lambda k: "dynamic cgnat" if k % 2 else "cgnat")
    churn = simulate_churn(registry, 60, runs=1, model=ChurnModel(address_days=5))
    assert churn.assumptions["dynamic_holders"] == 500
    assert churn.assumptions["dynamic_share"] == "flags of the register"
    assert share(churn, 30, "bank") == 0
    assert share(churn, 30, "ngo") > 0.3


def test_gaps_are_joined_as_a_day_by_day_count_says():
    rng = np.random.default_rng(5)
    for _ in range(200):
        n, days = int(rng.integers(1, 30)), 12
        holder = rng.integers(0, 5, n)
        begin = rng.random(n) * days
        end = begin + rng.choice([0.2, 1.0, 3.0, np.inf], n)
        joined = module._merged(holder, begin, end, days)
        counted = np.zeros((5, days), bool)
        for k in range(n):
            for day in range(days):
                counted[holder[k], day] |= begin[k] <= day < end[k]
        first, stop = (np.clip(np.ceil(x), 0, days).astype(int) for x in joined[1:])
        steps = np.zeros((5, days + 1), int)
        np.add.at(steps, (joined[0], first), 1)
        np.add.at(steps, (joined[0], stop), -1)
        assert np.array_equal(np.cumsum(steps, axis=1)[:, :days], counted.astype(int))


def test_chunks_do_not_matter_for_what_is_expected(register, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 97)
    model = ChurnModel(dynamic_share=1.0, address_days=20, delay_days=5, delay_sigma=0.0, **NEVER)
    churn = simulate_churn(register(5000), 40, runs=2, model=model)
    assert abs(share(churn, 30) - (1 - math.exp(-5 / 20))) < 0.02


def test_holders_are_registrations_in_force_on_the_first_day(tmp_path):
    path = tmp_path / "r.csv"
    rows = [
        "R-1,H,bank,9.9.9.1,client,any,any,2024-01-01,2025-01-01,active",
        "R-1,H,bank,9.9.9.2,client,any,any,2024-01-01,2026-01-01,active",
        "R-2,H,bank,9.9.9.3,client,any,any,2024-01-01,2025-01-01,revoked",
        "R-3,H,bank,9.9.9.4,client,any,any,2025-06-01,,active",
    ]
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    registry = Registry.open(path)
    assert simulate_churn(registry, 1, start="2024-06-01").frame["holders"].iloc[-1] == 1
    assert simulate_churn(registry, 1, start="2025-07-01").frame["holders"].iloc[-1] == 2
    assert simulate_churn(registry, 1).start == "2024-01-01"
    with pytest.raises(RegistryError, match="no registration is in force on 2020-01-01"):
        simulate_churn(registry, 1, start="2020-01-01")


@pytest.mark.parametrize(
    ("arguments", "model", "said"),
    [
        ({"days": 0}, {}, "days: 0 is not possible"),
        ({"days": 2.5}, {}, "days: 2.5"),
        ({"days": 10, "runs": 0}, {}, "runs: 0"),
        ({"days": 10, "seed": -1}, {}, "seed: -1"),
        ({"days": 10}, {"on_time": 1.5}, "on_time: 1.5"),
        ({"days": 10}, {"on_time": 0.9, "never": 0.2}, "as never is the rest"),
        ({"days": 10}, {"address_days": 0}, "address_days: 0"),
        ({"days": 10}, {"delay_sigma": math.nan}, "delay_sigma: nan"),
        ({"days": 10}, {"late_days": "x"}, "late_days: 'x'"),
        ({"days": 36_500, "runs": 1000}, {"address_days": 0.01}, "are too many"),
    ],
)
def test_what_is_not_possible_is_refused(register, arguments, model, said):
    with pytest.raises(RegistryError, match=said) as caught:
        simulate_churn(register(10), **arguments, model=ChurnModel(**model))
    assert caught.value.remedy


def test_json_and_html_hold_the_summary(register):
    churn = simulate_churn(register(100, category=lambda k: "<b>"), 5, runs=2)
    facts = json.loads(churn.to_json())
    assert facts["summary"][-1]["category"] == "*"
    assert len(facts["by_day"]) == 10
    assert facts["assumptions"]["address_days"] == 30.0
    assert "<b>" not in churn._repr_html_()


def test_plotting_says_what_is_missing(register, monkeypatch):
    churn = simulate_churn(register(10), 3, runs=1)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ResourceError, match=r"matplotlib: is not installed; pip install"):
        plot_churn(churn)


def test_a_plot_has_a_line_for_each_category(register):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed").use("Agg")
    ax = plot_churn(simulate_churn(register(50), 5, runs=1))
    assert [line.get_label() for line in ax.get_lines()] == ["bank", "ngo", "all"]
