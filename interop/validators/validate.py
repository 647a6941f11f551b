"""Validates every *.json of a folder as FHIR R4 (4.3), by a library that knows nothing of this project.

Prints one line for each file, `fhir.resources FILE: ok`, or a line for each thing that is wrong. Ends with 1 when
anything is wrong, and with 2 when nothing could be checked.

The library knows cardinalities, unknown elements and the form of values; it knows no value sets and no invariants.
"""

import json
import pathlib
import sys

from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError

LIBRARY = "fhir.resources"


def without_duplicates(pairs):
    """An object whose keys are all different: JSON lets them repeat, and readers then disagree."""
    found = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key} is there twice")
        found[key] = value
    return found


def problems(text):
    """What is wrong with a resource, in words."""
    try:
        resource = json.loads(text, object_pairs_hook=without_duplicates)
        get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    except ValidationError as refusal:
        return [f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in refusal.errors()]
    except (KeyError, TypeError, ValueError) as error:
        return [f"it cannot be read: {error!r}"]
    return []


def main():
    """Checks the folder that the command line names."""
    if len(sys.argv) != 2:
        print("usage: python validate.py FOLDER", file=sys.stderr)
        return 2
    files = sorted(pathlib.Path(sys.argv[1]).glob("*.json"))
    if not files:
        print("there is no *.json in the folder", file=sys.stderr)
        return 2
    wrong = False
    for file in files:
        found = problems(file.read_text(encoding="utf-8"))
        for problem in found or ["ok"]:
            # One line each, whatever the library quotes.
            print(f"{LIBRARY} {file.name}: {' '.join(problem.split())}")
        wrong |= bool(found)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
