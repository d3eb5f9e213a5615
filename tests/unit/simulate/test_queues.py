"""The box's queue against the closed forms of queueing theory.

Waiting times of neighbouring packets depend on each other, so the standard error of a mean is that
of the means of fifty long stretches. Four of them hold but for one seed in some ten thousand; the
seeds are fixed.
"""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from classifier.simulate import Box, ServiceTime
from classifier.simulate.model import _through_cores

N, STRETCHES = 2_000_000, 50
SERVICE_NS = 1000.0


def waits(load: float, kind: str, cores: int = 1) -> NDArray[np.float64]:
    """Return the waiting times of Poisson arrivals, ns."""
    rng = np.random.default_rng(7)
    arrive = np.cumsum(rng.exponential(SERVICE_NS / load / cores, N))
    service = ServiceTime(kind, SERVICE_NS).draw(N, seed=11)
    box = Box(cores=cores, buffer=None, dispatch="shared")
    return _through_cores(arrive, service, np.arange(N), box) - service - arrive


def mean_and_error(values: NDArray[np.float64]) -> tuple[float, float]:
    means = values.reshape(STRETCHES, -1).mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1) / math.sqrt(STRETCHES))


@pytest.mark.parametrize("load", [0.5, 0.8, 0.95])
@pytest.mark.parametrize(("kind", "variation"), [("constant", 0.0), ("exponential", 1.0)])
def test_mean_wait_is_that_of_pollaczek_and_khinchine(
    load: float, kind: str, variation: float
) -> None:
    expected = load * SERVICE_NS * (1 + variation) / (2 * (1 - load))
    mean, error = mean_and_error(waits(load, kind))
    assert abs(mean - expected) < 4 * error
    assert error < 0.1 * expected


@pytest.mark.parametrize("load", [0.5, 0.8, 0.95])
def test_exponential_service_makes_one_packet_in_so_many_wait(load: float) -> None:
    late = 3 * SERVICE_NS
    expected = load * math.exp(-(1 - load) * late / SERVICE_NS)
    share, error = mean_and_error((waits(load, "exponential") > late).astype(np.float64))
    assert abs(share - expected) < 4 * error


@pytest.mark.parametrize("cores", [2, 4])
def test_mean_wait_for_several_cores_is_that_of_erlang_c(cores: int) -> None:
    load = 0.8
    offered = load * cores
    full = offered**cores / math.factorial(cores) / (1 - load)
    waiting = full / (sum(offered**k / math.factorial(k) for k in range(cores)) + full)
    expected = waiting * SERVICE_NS / (cores * (1 - load))
    mean, error = mean_and_error(waits(load, "exponential", cores))
    assert abs(mean - expected) < 4 * error


def test_a_full_buffer_loses_what_its_three_states_say() -> None:
    """M/M/1/2: one in service and one that waits."""
    load = 0.8
    rng = np.random.default_rng(3)
    arrive = np.cumsum(rng.exponential(SERVICE_NS / load, N))
    service = ServiceTime("exponential", SERVICE_NS).draw(N, seed=5)
    leave = _through_cores(arrive, service, np.arange(N), Box(buffer=1))
    expected = load**2 / (1 + load + load**2)
    share, error = mean_and_error((leave < 0).astype(np.float64))
    assert abs(share - expected) < 4 * error
