"""Print the bill of materials of this environment, Python distributions and Debian packages, as CycloneDX 1.6 JSON.

Rules kept here:
- The standard library alone: it runs inside the image's build, with the very interpreter and packages that are shipped.
- What it lists is what is installed, read from the metadata on disk, never a list that somebody wrote.
- The same content gives the same bytes: sorted, no clock, no random serial number.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import uuid
from importlib import metadata
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

DPKG_STATUS: Final = Path("/var/lib/dpkg/status")
OS_RELEASE: Final = Path("/etc/os-release")
_SPDX: Final = re.compile(r"[A-Za-z0-9.+() -]{1,100}\Z")
_MAX_NAME: Final = 100


def main() -> None:
    """Print the bill of materials."""
    components = sorted([*python_components(), *debian_components()], key=lambda part: str(part["bom-ref"]))
    json.dump(bill(components), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")


def bill(components: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the document; the sidecar itself is its subject, and depends on all the rest."""
    subject = next((part for part in components if part["name"] == "atlas-sidecar"), None)
    rest = [part for part in components if part is not subject]
    digest = hashlib.sha256("\n".join(str(part["bom-ref"]) for part in components).encode()).digest()
    metadata_: dict[str, Any] = {}
    if subject is not None:
        metadata_["component"] = {**subject, "type": "application"}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.UUID(bytes=digest[:16], version=4)}",
        "version": 1,
        "metadata": metadata_,
        "components": rest,
    }


def python_components() -> list[dict[str, Any]]:
    """Return the installed Python distributions."""
    found = []
    for distribution in metadata.distributions():
        fields = distribution.metadata
        name = re.sub(r"[-_.]+", "-", fields["Name"]).lower()
        reference = f"pkg:pypi/{quote(name)}@{quote(distribution.version)}"
        component = _component(name, distribution.version, reference)
        licence = fields.get("License-Expression") or _short(fields.get("License")) or _classified(fields)
        if licence:
            component["licenses"] = [_licence(licence, expression="License-Expression" in fields)]
        found.append(component)
    return found


def debian_components(status: Path = DPKG_STATUS) -> list[dict[str, Any]]:
    """Return the installed Debian packages, none where there is no dpkg."""
    if not status.is_file():
        return []
    distribution = "debian"
    if OS_RELEASE.is_file():
        release = dict(
            line.split("=", 1) for line in OS_RELEASE.read_text(encoding="utf-8").splitlines() if "=" in line
        )
        distribution = f"debian-{release.get('VERSION_ID', '').strip(chr(34))}"
    found = []
    for block in status.read_text(encoding="utf-8").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and line[0] != " ")
        if not fields.get("Status", "").endswith(" installed"):
            continue
        name, version = fields["Package"], fields["Version"]
        architecture = fields.get("Architecture", "all")
        reference = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={architecture}&distro={distribution}"
        found.append(_component(name, version, reference))
    return found


def _component(name: str, version: str, reference: str) -> dict[str, Any]:
    return {"type": "library", "bom-ref": reference, "name": name, "version": version, "purl": reference}


def _short(text: str | None) -> str:
    """Return a licence field that is a name; older packages put the whole text there."""
    return text if text and len(text) <= _MAX_NAME and "\n" not in text and text.upper() != "UNKNOWN" else ""


def _classified(fields: Any) -> str:
    names = [entry.rpartition(" :: ")[2] for entry in fields.get_all("Classifier") or [] if entry[:7] == "License"]
    return ", ".join(names)


def _licence(text: str, *, expression: bool) -> dict[str, Any]:
    if expression and _SPDX.match(text):
        return {"expression": text}
    return {"license": {"name": text}}


if __name__ == "__main__":
    main()
