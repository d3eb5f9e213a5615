"""Conditions are drawn from the seed, within what the software copes with."""

import random
from dataclasses import fields

import pytest

from classifier.lab.conditions import Allowed, Conditions, draw, legs, netem

ALL = Allowed(ipv6=True, late=True, clients=4)
NONE = Allowed(nat=False, vlan=False, loss=False, small_mtu=False)


def drawn(allowed: Allowed, count: int = 400) -> list[Conditions]:
    return [draw(random.Random(f"test {seed}"), allowed) for seed in range(count)]


def test_the_same_seed_draws_the_same_conditions() -> None:
    assert drawn(ALL, 20) == drawn(ALL, 20)
    assert len(set(drawn(ALL, 20))) > 15


def test_what_is_not_allowed_is_never_drawn() -> None:
    for made in drawn(NONE):
        assert not any((made.nat, made.vlan, made.loss, made.reorder, made.ipv6, made.late))
        assert (made.mtu, made.clients) == (1500, 1)


def test_every_condition_is_drawn_sometimes_and_never_always() -> None:
    made = drawn(ALL)
    for field in fields(Conditions):
        assert len({getattr(one, field.name) for one in made}) > 1, field.name
    assert 0.15 < sum(not one.impaired for one in made) / len(made) < 0.35


def test_addresses_are_never_translated_over_ipv6() -> None:
    assert not [one for one in drawn(ALL) if one.ipv6 and one.nat]


def test_allowing_one_thing_more_leaves_the_other_draws_as_they_were() -> None:
    for before, after in zip(drawn(Allowed(), 50), drawn(Allowed(clients=4), 50), strict=True):
        assert before.delay_ms == after.delay_ms
        assert before.vlan == after.vlan


def test_legs_add_up_to_the_whole_path() -> None:
    made = Conditions(delay_ms=40, jitter_ms=4, loss=0.02, reorder=0.01, rate_kbit=8000, near=0.25)
    near, far = legs(made)
    assert near.delay_s + far.delay_s == pytest.approx(0.040)
    assert near.jitter_s + far.jitter_s == pytest.approx(0.004)
    assert (1 - near.loss) * (1 - far.loss) == pytest.approx(0.98)
    assert (near.rate_bytes, far.rate_bytes) == (0, 1_000_000)


def test_netem_gets_what_was_drawn() -> None:
    made = Conditions(delay_ms=20, jitter_ms=2, loss=0.01, reorder=0.005, rate_kbit=4000)
    assert " ".join(netem(made)) == (
        "netem limit 1000 delay 20ms 2ms loss 1.000% reorder 0.500% rate 4000kbit"
    )
    assert netem(Conditions(loss=0.001)) == ["netem", "limit", "1000", "loss", "0.100%"]
