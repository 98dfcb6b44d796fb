"""How many tests were skipped, and why: read from the reports of pytest (`--junit-xml`), printed by `make test`."""

from __future__ import annotations

import sys
from collections import Counter
from xml.etree import ElementTree as ET


def main(reports: list[str]) -> None:
    """Print one line for all reports and one for each reason."""
    tests, reasons = 0, Counter[str]()
    for report in reports:
        for case in ET.parse(report).iter("testcase"):
            tests += 1
            reasons.update(skipped.get("message", "?") for skipped in case.iter("skipped"))
    print(f"{tests:,} tests, {reasons.total()} of them skipped")
    for reason, count in reasons.most_common():
        print(f"  {count} skipped: {reason}")


if __name__ == "__main__":
    main(sys.argv[1:])
