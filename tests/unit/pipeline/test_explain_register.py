"""Explaining a flow names the registrations that nearly covered its endpoints."""

import classifier

DEMO = classifier.datasets.demo()


def test_the_registration_that_nearly_covered_an_endpoint_is_named_with_the_reason():
    run = classifier.classify(DEMO.capture, registry=DEMO.register)
    flows = run.flows
    words = {"expired": "it ended", "wrong_side": "it is for a client", "not_yet": "it begins"}
    seen = set()
    for flow in flows[flows["near_miss"] != ""].itertuples():
        text = str(run.explain(flow.flow_id))
        assert f"{flow.near_miss}: " in text
        if flow.near_miss in words:
            assert words[flow.near_miss] in text
            seen.add(flow.near_miss)
    assert "expired" in seen


def test_without_a_register_nothing_is_said_of_entries():
    run = classifier.classify(DEMO.capture)
    assert list(run.explain(0).entries) == []
