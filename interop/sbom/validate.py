"""Whether a file is a CycloneDX 1.6 document, by the schema and the library of OWASP CycloneDX: no line, or what is wrong.

A document that is broken on purpose has to be refused too: a validator that finds nothing wrong with it does not work.
"""

import json
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def main():
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    with open(sys.argv[1], encoding="utf-8") as file:
        text = file.read()
    problem = validator.validate_str(text)
    if problem is not None:
        sys.exit(f"not valid: {problem}")
    broken = json.loads(text)
    del broken["components"][0]["name"]
    if validator.validate_str(json.dumps(broken)) is None:
        sys.exit("the validator takes a component without a name: it does not work")


main()
