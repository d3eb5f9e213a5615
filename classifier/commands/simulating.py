"""The verb that sends a capture through a model of the inspecting box."""

import argparse
import json

from classifier.commands.shared import (
    Verbs,
    add_judging,
    add_reading,
    add_verb,
    classified,
    failed,
    say,
)

__all__ = ["add"]


def add(verbs: Verbs) -> None:
    """Enter the verb."""
    simulate = add_verb(verbs, "simulate", "Estimate the delay and loss that inspection would add.")
    simulate.add_argument("captures", nargs="+", metavar="CAPTURE", help="capture")
    option = simulate.add_argument
    option("--cores", type=int, default=1, metavar="N", help="cores of the box (default: 1)")
    option(
        "--service-time",
        default="constant:1.5us",
        metavar="MODEL",
        help="per packet: constant:TIME, exponential:TIME, file:PATH of nanoseconds, or measured "
        "on this machine (default: %(default)s)",
    )
    option(
        "--flow-time",
        default="0ns",
        metavar="TIME",
        help="more for a flow's first packet (default: %(default)s)",
    )
    option(
        "--link", metavar="RATE", help="bits per second behind the box, as 1G (default: no limit)"
    )
    option(
        "--buffer",
        type=_packets,
        default=1000,
        metavar="N",
        help="packets that may wait for a core or the link, or none (default: 1000)",
    )
    option(
        "--dispatch",
        choices=("flow", "shared"),
        default="flow",
        help="which core takes a packet: its flow's, or the next free (default: %(default)s)",
    )
    option("--throttle", metavar="RATE", help="hold would_throttle flows to this (default: do not)")
    option(
        "--throttle-per",
        choices=("flow", "address", "class"),
        default="flow",
        help="what has a token bucket of its own (default: %(default)s)",
    )
    option("--burst", type=int, default=15000, metavar="BYTES", help="of a bucket (default: 15000)")
    option(
        "--speed-up",
        type=float,
        default=1.0,
        metavar="X",
        help="arrivals this much faster than captured (default: 1)",
    )
    option("--seed", type=int, default=1, metavar="N", help="of drawn service times (default: 1)")
    option("--format", choices=("table", "json"), default="table", help="(default: %(default)s)")
    add_judging(simulate)
    add_reading(simulate)
    simulate.set_defaults(run=_simulate)


def _packets(text: str) -> int | None:
    if text == "none":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither packets above 0 nor 'none'")
    return int(text)


def _simulate(options: argparse.Namespace) -> int:
    from classifier.simulate import Box, Throttle, check_settings, parse_rate, parse_service

    throttle = None
    if options.throttle:
        rate = parse_rate(options.throttle)
        throttle = Throttle(rate, options.burst, options.throttle_per)
    service = parse_service(options.service_time, options.flow_time)
    link = parse_rate(options.link) if options.link else None
    # All that can be wrong with the box is told before the captures are read
    Box(options.cores, service, link, options.buffer, options.dispatch, throttle)
    check_settings(options.speed_up, options.seed)
    run = classified(options)
    result = run.simulate(
        cores=options.cores,
        service_time=service,
        link_bps=link,
        buffer=options.buffer,
        dispatch=options.dispatch,
        throttle=throttle,
        speed_up=options.speed_up,
        seed=options.seed,
    )
    say(json.dumps(result.to_json(), indent=2) if options.format == "json" else result.text())
    return failed(run)
