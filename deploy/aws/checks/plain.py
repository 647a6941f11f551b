"""Makes plain CloudFormation of the SAM template: `plain.py TEMPLATE OUT`.

The translator is the one that CloudFormation itself runs. Local paths become objects of a bucket, as `sam package` makes
them, and parameters with a default become it, so that a check sees numbers and not references.
"""

import json
import os
import sys

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

PACKAGED = {"Bucket": "packaged", "Key": "packaged"}


class NoManagedPolicies:
    """The template names none of Amazon's policies, so none has to be looked up."""

    def load(self):
        return {}


def with_defaults(value, defaults):
    """The value with references to parameters replaced by their defaults."""
    if isinstance(value, dict):
        if set(value) == {"Ref"} and value["Ref"] in defaults:
            return defaults[value["Ref"]]
        return {key: with_defaults(item, defaults) for key, item in value.items()}
    if isinstance(value, list):
        return [with_defaults(item, defaults) for item in value]
    return value


def main(template, out):
    with open(template, encoding="utf-8") as file:
        template = yaml_parse(file.read())
    template["Globals"]["Function"]["CodeUri"] = PACKAGED
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::StateMachine":
            resource["Properties"]["DefinitionUri"] = PACKAGED
    plain = transform(template, {}, NoManagedPolicies())
    defaults = {
        name: parameter["Default"]
        for name, parameter in plain["Parameters"].items()
        if isinstance(parameter.get("Default"), (int, float))
    }
    plain["Resources"] = with_defaults(plain["Resources"], defaults)
    with open(out, "w", encoding="utf-8") as file:
        json.dump(plain, file, indent=1)


main(*sys.argv[1:])
