"""Lists known vulnerabilities of the versions in lock files with pip-audit. Uses only the standard library.

python -m tools.setup.audit lock/dev.txt
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from tools.errors import AuditError
from tools.runtime.printable import printable
from tools.runtime.standard_streams import exit_code_after_output, guard_standard_streams


def known_faults(lock: str) -> list[str]:
    """Returns one line for each known vulnerability of a version in a lock file.

    Args:
        lock: a requirements file with a version and hashes for each package; nothing is installed.

    Raises:
        AuditError: pip-audit is not installed, cannot reach its database, or does not find a package there.
    """
    # With hashes, pip-audit assumes that the file is complete and requests nothing from a package index.
    command = [sys.executable, "-m", "pip_audit", "--requirement", lock, "--require-hashes", "--disable-pip"]
    done = subprocess.run(
        [*command, "--format", "json", "--progress-spinner", "off"], capture_output=True, text=True, check=False
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
        skipped = [package["skip_reason"] for package in packages if "skip_reason" in package]
        if not skipped:
            return [line for package in packages for line in _lines(package)]
    except (ValueError, KeyError, TypeError) as error:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reason = said[-1] if said else f"exit code {done.returncode}"
        raise AuditError(f"{lock}: the audit failed, pip-audit reports: {reason[:200]}") from error
    raise AuditError(
        f"{lock}: {len(skipped)} of {len(packages)} packages were not audited, pip-audit reports: {skipped[0][:200]}"
    )


def _lines(package: dict[str, Any]) -> list[str]:
    """Formats the vulnerabilities of a package in pip-audit's JSON."""
    return [
        f"{package['name']} {package['version']}: {fault['id']}, fixed in {', '.join(fault['fix_versions']) or 'none'}"
        for fault in package["vulns"]
    ]


def main(arguments: Sequence[str]) -> int:
    """Prints the vulnerabilities in each lock file; returns 0, 1 if there are any, or 2 if the lookup failed."""
    parser = argparse.ArgumentParser(prog="python -m tools.setup.audit", description="Look up known vulnerabilities.")
    parser.add_argument("lock", nargs="+", help="requirements file with a version and hashes for each package")
    any_fault = False
    for lock in parser.parse_args(list(arguments)).lock:
        try:
            found = known_faults(lock)
        except AuditError as error:
            print(f"error: {printable(str(error))}", file=sys.stderr)
            return 2
        print(f"{lock}: {len(found)} known vulnerabilities" if found else f"{lock}: no known vulnerability")
        for line in found:
            print(f"    {printable(line)}")
        any_fault = any_fault or bool(found)
    return int(any_fault)


if __name__ == "__main__":
    guard_standard_streams()
    sys.exit(exit_code_after_output(main(sys.argv[1:])))
