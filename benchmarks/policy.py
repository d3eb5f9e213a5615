"""What judging costs: each built-in policy, and one that asks for everything derived.

    python benchmarks/policy.py CAPTURE...

The run is timed warm (kernels compiled, capture in the page cache), then the same rows are judged
alone. Time is that of the processor, the least of several. The share is that of the policy in the
whole run.
"""

import argparse
import time
from collections.abc import Callable

import classifier
from classifier.policy import Policy, builtin_policies, inside_column
from classifier.registry import inside
from classifier.report.endpoints import endpoints

DERIVED = """
name = "everything derived"
default = "allow"

[[rule]]
name = "office hours"
when = "is_vpn and hour >= 8 and hour < 18 and weekday not in ['saturday', 'sunday']"
verdict = "flag"

[[rule]]
name = "inside, long, large"
when = "inside == 'orig' and duration_s > 60 and bytes > 1000000 and packets > 1000"
verdict = "flag"

[[rule]]
name = "nearly registered"
when = "is_vpn and (registration_expired or registration_wrong_side) and category != 'bank'"
verdict = "flag"
"""


def best(work: Callable[[], object], repeats: int) -> float:
    """Return the least seconds of the processor that some work takes."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("captures", nargs="+")
    options = parser.parse_args()
    run = classifier.classify(options.captures, progress=False)  # compiles
    whole = best(lambda: classifier.classify(options.captures, progress=False), 3)
    flows = run.table.num_rows
    packets = run.accounting["packets_in_flows"]
    print(f"{packets:,} packets, {flows:,} flows: {whole:.2f} s in all")
    print("| policy | rules | ms | us per flow | share of the run |")
    print("|---|---:|---:|---:|---:|")
    batches = run.table.to_batches(max_chunksize=4096)
    addresses = [endpoints(batch) for batch in batches]  # what a run has without reading text

    def judge(policy: Policy) -> None:
        for batch, flows in zip(batches, addresses, strict=True):
            if "inside" in policy.columns:
                batch = batch.append_column("inside", inside_column(*inside(flows)))
            policy.judge(batch)

    for policy in (*builtin_policies(), Policy.from_text(DERIVED)):
        spent = best(lambda p=policy: judge(p), 5)
        print(
            f"| {policy.name} | {len(policy.rules)} | {spent * 1e3:.1f} | {spent / flows * 1e6:.2f} "
            f"| {spent / whole:.2%} |"
        )


if __name__ == "__main__":
    main()
