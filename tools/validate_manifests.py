"""Validates manifests, a JSON list on stdin, strictly against Kubernetes versions; runs in .tools/kubernetes-validate.

Prints a line for each violation. A kind without a schema in a version is one, unless SINCE or FOREIGN says why.
"""

import json
import sys

import kubernetes_validate

SINCE = {"MutatingAdmissionPolicy": 1.36, "MutatingAdmissionPolicyBinding": 1.36}
FOREIGN = "monitoring.coreos.com/"  # the Prometheus operator's; its schemas are not Kubernetes' own


def main() -> None:
    """Validate."""
    manifests = json.load(sys.stdin)
    checked = 0
    for version in sys.argv[1:]:
        for manifest in manifests:
            kind = manifest["kind"]
            if manifest["apiVersion"].startswith(FOREIGN) or float(version) < SINCE.get(kind, 0):
                continue
            name = f"{version}: {kind}/{manifest['metadata']['name']}"
            try:
                kubernetes_validate.validate(manifest, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                print(f"{name}: {'.'.join(map(str, error.path))}: {error.message}")
            except kubernetes_validate.SchemaNotFoundError as error:
                print(f"{name}: {error}")
            checked += 1
    print(f"{checked} checked", file=sys.stderr)


if __name__ == "__main__":
    main()
