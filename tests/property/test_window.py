"""The window against sets of days, and states as of any time against a linear replay."""

import copy
import datetime
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from reference.register import Days, replay

from classifier.registry import RefusedError, Registry, Window, verify

EPOCH = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
PREFIXES = ["203.0.113.64/28", "203.0.113.7", "2001:db8::/32", "0.0.0.0/0"]
SAID = {"by": "someone", "reason": "because"}
prefixes = st.sets(st.sampled_from(PREFIXES), min_size=1)
some = st.sets(st.sampled_from(PREFIXES))
spans = st.integers(1, 12)


def date(day):
    return (EPOCH + datetime.timedelta(days=day)).date().isoformat()


class OneWindow(RuleBasedStateMachine):
    """Any order of steps gives what the days say, now and as it was known at every step."""

    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "r.db"
        self.day = 0
        self.ticks = 0
        self.window = Window(self.path, clock=self.clock)
        self.window.init(**SAID)
        self.model = {}
        self.known = []

    def clock(self):
        return EPOCH + datetime.timedelta(days=self.day, seconds=self.ticks)

    def step(self, name, expected, function):
        """Do a step that the model allows or refuses, and note what is known then."""
        self.ticks += 1
        try:
            function()
            done = True
        except RefusedError as error:
            assert error.remedy
            done = False
        assert done == expected, name
        if done:
            self.known.append((self.clock().isoformat(), copy.deepcopy(self.model)))

    @rule(days=st.integers(1, 8))
    def time_passes(self, days):
        self.day += days
        self.ticks = 0

    @rule(name=st.sampled_from("ABC"), prefixes=prefixes, wait=st.integers(0, 5), length=spans)
    def add(self, name, prefixes, wait, length):
        first, end = self.day + wait, self.day + wait + length
        expected = name not in self.model
        if expected:
            self.model[name] = Days(prefixes, first, end)
        self.step(
            "add",
            expected,
            lambda: self.window.add(
                "Holder",
                "bank",
                sorted(prefixes),
                registration_id=name,
                valid_from=date(first),
                valid_to=date(end),
                on=date(self.day),
                **SAID,
            ),
        )

    def existing(self, data):
        return data.draw(st.sampled_from(sorted(self.model)))

    @precondition(lambda self: self.model)
    @rule(data=st.data(), back=st.integers(0, 4))
    def approve(self, data, back):
        name, on = self.existing(data), self.day - back
        expected = self.model[name].approve(on)
        self.step("approve", expected, lambda: self.window.approve(name, on=date(on), **SAID))

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def reject(self, data):
        name = self.existing(data)
        expected = self.model[name].reject(self.day)
        self.step("reject", expected, lambda: self.window.reject(name, on=date(self.day), **SAID))

    @precondition(lambda self: self.model)
    @rule(data=st.data(), span=st.integers(-2, 12))
    def renew(self, data, span):
        name, until = self.existing(data), self.day + span
        expected = self.model[name].renew(self.day, until)
        self.step(
            "renew",
            expected,
            lambda: self.window.renew(name, date(until), on=date(self.day), **SAID),
        )

    @precondition(lambda self: self.model)
    @rule(data=st.data(), add=some, remove=some)
    def amend(self, data, add, remove):
        name = self.existing(data)
        expected = self.model[name].amend(self.day, add, remove - add)
        self.step(
            "amend",
            expected,
            lambda: self.window.amend(
                name,
                add_prefixes=sorted(add),
                remove_prefixes=sorted(remove - add),
                on=date(self.day),
                **SAID,
            ),
        )

    @precondition(lambda self: self.model)
    @rule(data=st.data(), back=st.integers(-6, 10))
    def revoke(self, data, back):
        name, on = self.existing(data), self.day - back
        expected = self.model[name].revoke(on)
        self.step("revoke", expected, lambda: self.window.revoke(name, on=date(on), **SAID))

    def teardown(self):
        if not hasattr(self, "path"):
            return
        registry = Registry.open(self.path)
        for known_at, model in self.known:
            for day in range(-2, self.day + 14, 3):
                expected = sorted(
                    (name, prefix)
                    for name, one in model.items()
                    for prefix, days in one.days.items()
                    if day in days
                )
                rows = registry.as_of(date(day), known_at).rows.to_pylist()
                found = sorted((row["registration_id"], row["prefix"]) for row in rows)
                assert found == expected, (day, known_at)
                replayed = replay(self.path, date(day), known_at)
                assert sorted((row[0], row[1]) for row in replayed) == expected
        for name, one in self.model.items():
            assert self.window.show(name, on=date(self.day)).state == one.state_on(self.day)
        assert verify(self.path).whole
        self.folder.cleanup()


OneWindow.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=14,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestOneWindow = OneWindow.TestCase
