"""Licences of everything that is installed, and known vulnerabilities where the package registry tells them.

Exit code 1: a licence that Apache-2.0 software cannot rest on, or a version with a known vulnerability.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent
FORBIDDEN = re.compile(
    r"\b(AGPL|GPL|LGPL|SSPL|BUSL|Elastic License|Commons Clause|Affero|General Public|UNKNOWN|Proprietary)", re.I
)
EXCUSED = {
    r"nvidia-.*|cuda-.*": "PyTorch's default wheel brings NVIDIA's libraries along; none is needed on a CPU",
    r"axe-playwright-python": "MIT, by its repository; tests only",
}
"""Names of distributions, and why what they say of themselves is no obstacle."""


def main() -> int:
    faults = [*_licences(), *_vulnerabilities()]
    for fault in faults:
        sys.stdout.write(f"{fault}\n")
    return bool(faults)


def _licences() -> list[str]:
    command = [str(BIN / "pip-licenses"), "--from=mixed", "--format=json"]
    distributions = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    faults = []
    for distribution in distributions:
        name, licence = distribution["Name"], distribution["License"].splitlines()[0]
        choices = re.split(r"\s+OR\s+|;\s*", licence)
        if all(FORBIDDEN.search(choice) for choice in choices) and not any(re.fullmatch(e, name) for e in EXCUSED):
            faults.append(f"{name}: {licence}")
    sys.stdout.write(f"Licences: {len(distributions)} distributions looked at, {len(faults)} at fault\n")
    return faults


def _vulnerabilities() -> list[str]:
    command = [str(BIN / "pip-audit"), "-r", "constraints.txt", "--no-deps", "--disable-pip", "--format=json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except ValueError:
        reason = done.stderr.strip().splitlines()[-1:] or ["no answer"]
        sys.stdout.write(f"Vulnerabilities: nothing was audited, the registry cannot be asked: {reason[0][:200]}\n")
        return []
    audited = [dependency for dependency in dependencies if "skip_reason" not in dependency]
    faults = [
        f"{dependency['name']} {dependency['version']}: {fault['id']}"
        for dependency in audited
        for fault in dependency["vulns"]
    ]
    known = f"{len(audited)} of {len(dependencies)} versions known to the registry"
    sys.stdout.write(f"Vulnerabilities: {known}, {len(faults)} at fault\n")
    if not audited:
        sys.stdout.write("Vulnerabilities: this registry gives no advisories, so nothing was audited\n")
    return faults


if __name__ == "__main__":
    sys.exit(main())
