"""Checks ICD-10-CM codes of the knowledge file and of model packs against the classification's own table, by a library that
knows nothing of this project: they exist, they mean what they are listed for, and a label's can be assigned as they are.

Prints one line for each code, `icd-10-cm FILE: CODE (description)`, or what is wrong with it. Ends with 1 when anything is
wrong, and with 2 when nothing could be checked, or when the table does not tell right from wrong.
"""

import pathlib
import sys
import tomllib

import simple_icd_10_cm as table


PLURALS = {"nevus": "nevi"}


def means(description, name):
    """Whether a description is about what is named: it has each word of the name, or the plural."""
    words = [word.strip(",[]()").lower() for word in description.split()]
    return all(wanted in words or PLURALS.get(wanted) in words for wanted in name.lower().split())


def problem(code, name=None, is_label=False):
    """What is wrong with a code, in words."""
    if not table.is_valid_item(code):
        return "it is not in the table"
    if name is not None and not means(table.get_description(code), name):
        return f"it is {table.get_description(code)!r}, not {name!r}"
    if is_label and not table.is_leaf(code):
        return "it is a category, and cannot be assigned"
    return None


def listed(file):
    """The codes of a file: each with what it is listed for, where the file says so, and whether it is a label's."""
    content = tomllib.loads(pathlib.Path(file).read_text(encoding="utf-8"))
    for condition in content.get("condition", []):
        yield from ((code, condition["name"], False) for code in condition["icd_10_cm"])
    for history in content.get("history", []):
        # Kinds of histories have names of our own.
        yield from ((code, None, False) for code in history["icd_10_cm"])
    labels = [label for model in content.get("model", []) for label in model.get("labels", [])]
    for label in labels + content.get("further_conditions", []):
        if "icd_10_cm" in label:
            yield label["icd_10_cm"], label["display"], True


# Each is wrong in one way; a table that lets one pass checks nothing.
CONTROLS = [
    ("C43.99", None, False),
    ("C44.622", "basal cell carcinoma", False),
    ("D22", "Melanoma", False),
    ("L40", "Psoriasis", True),
]


def main():
    """Checks the files that the command line names."""
    if len(sys.argv) < 2:
        print("usage: python codes.py FILE...", file=sys.stderr)
        return 2
    for control in CONTROLS:
        if problem(*control) is None:
            print(f"{control} has to be refused and is not", file=sys.stderr)
            return 2
    wrong = False
    for file in sys.argv[1:]:
        codes = list(listed(file))
        if not codes:
            print(f"{file} has no code", file=sys.stderr)
            return 2
        for code, name, is_label in codes:
            found = problem(code, name, is_label)
            wrong |= found is not None
            print(f"icd-10-cm {file}: {code} ({found or table.get_description(code)})")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
