"""Holds the manifests of a folder against the schemas of Kubernetes, unknown fields included.

validate.py FOLDER VERSION...: every resource that the folder's kustomization.yaml names, for each of these versions.
"""

import copy
import pathlib
import sys

import kubernetes_validate
import yaml


def documents(folder: pathlib.Path):
    """Every resource with the file it comes from."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    named = set(kustomization["resources"])
    present = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
    if named != present:
        sys.exit(f"kustomization.yaml names {sorted(named)}, the folder holds {sorted(present)}")
    for name in kustomization["resources"]:
        for document in yaml.safe_load_all((folder / name).read_text()):
            yield name, document


def refusal(document, version: str):
    """Why a document does not fit, or nothing."""
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{'.'.join(str(part) for part in error.path)}: {error.message}"
    return None


def main():
    folder, versions = pathlib.Path(sys.argv[1]), sys.argv[2:]
    found, checked = [], 0
    for name, document in documents(folder):
        broken = copy.deepcopy(document)
        broken["nonsense"] = True
        for version in versions:
            what = f"{name}: {document['kind']} {document['metadata']['name']} ({version})"
            why = refusal(document, version)
            if why:
                found.append(f"{what}: {why}")
            if not refusal(broken, version):
                found.append(f"{what}: an unknown field was not noticed")
            checked += 1
    if found:
        sys.exit("\n".join(found))
    print(f"{checked} resources fit")


main()
