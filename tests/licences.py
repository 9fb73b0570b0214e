"""`python -m tests.licences` prints docs/licences.md: what is installed with the proxy, and under which licence.

Names and versions come from `requirements.lock`, licences from each package's own metadata, as SPDX expressions. Older
metadata say it in words; what those mean is written down here, and looked up in the package's licence file.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent

ACCEPTED = {"MIT", "MIT-0", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "PSF-2.0", "MPL-2.0"}
"""What an MIT project can be installed together with, for any use. Each asks at most that its notice be kept; MPL-2.0
also that changes to its own files stay open."""

IN_WORDS = {"Apache 2.0": "Apache-2.0", "MIT License": "MIT"}

READ_BY_US = {
    "async-timeout": "Apache-2.0",  # on the first patches of Python 3.11 alone
    "google-re2": "BSD-3-Clause",
    "httpx-aiohttp": "BSD-3-Clause",
    "itsdangerous": "BSD-3-Clause",
    "jinja2": "BSD-3-Clause",
    "markdown-it-py": "MIT",
    "mdurl": "MIT",
    "segno": "BSD-3-Clause",
    "uvloop": "MIT OR Apache-2.0",
}

HEAD = """# Licences

What `pip install` brings along with the proxy, which is under the [MIT licence](../LICENSE) itself. Each package is unchanged, and is no part of the
proxy's own wheel. The widget in visitors' browsers has no code of others in it.

<!-- written by `python -m tests.licences > docs/licences.md`, and checked by tests/test_licences.py -->

| package | version | licence |
|---|---|---|
"""
TAIL = """
All but one ask for no more than that their notice be kept. certifi (MPL-2.0) asks that changes to its own file be published, which nobody here makes.
A list for programs, with who needs what (CycloneDX), comes with [each release](releasing.md).
"""


def locked() -> list[tuple[str, str]]:
    """Name and version of each package in the lock."""
    lines = re.findall(r"^[A-Za-z0-9._-]+==[^\\\n]+", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    found = [Requirement(line.strip()) for line in lines]
    return [(one.name, str(one.specifier).removeprefix("==")) for one in found]


def licence_of(package: str) -> str:
    """The SPDX expression of its licence, or the empty text where nobody knows."""
    if package in READ_BY_US:
        return READ_BY_US[package]
    try:
        about = metadata(package)
    except PackageNotFoundError:
        return ""  # of another platform: to be read, and written down above
    return next((accepted(about[key]) for key in ("License-Expression", "License") if key in about), "")


def accepted(said: str) -> str:
    """What is said of a licence as an SPDX expression, where each that it names is accepted; else the empty text."""
    expression = IN_WORDS.get(said, said)
    return expression if set(re.split(r" (?:AND|OR) ", re.sub(r"[()]", "", expression))) <= ACCEPTED else ""


def document() -> str:
    """The whole of docs/licences.md."""
    rows = "".join(f"| {name} | {version} | {licence_of(name) or 'to be read'} |\n" for name, version in locked())
    return HEAD + rows + TAIL


if __name__ == "__main__":
    sys.stdout.write(document())
