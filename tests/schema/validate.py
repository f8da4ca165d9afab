#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""validate.py SCHEMA: lines of JSON come in, a line for each goes out.

"ok", or what is wrong and where. With --closed also where an object of the line
could have one more member and nobody would notice.
"""
import json
import sys

from jsonschema import Draft202012Validator


def complaint(validator, document):
    error = next(validator.iter_errors(document), None)
    if error is None:
        return None
    return "/".join(map(str, error.absolute_path)) + ": " + error.message[:200]


def objects(value, path=()):
    if isinstance(value, dict):
        yield path
        for key, member in value.items():
            yield from objects(member, path + (key,))
    elif isinstance(value, list):
        for i, member in enumerate(value):
            yield from objects(member, path + (i,))


def at(value, path):
    for step in path:
        value = value[step]
    return value


def gaps(validator, document):
    """Where one more member goes unnoticed."""
    for path in objects(document):
        members = at(document, path)
        members["surplus member"] = 1
        if complaint(validator, document) is None:
            yield "/" + "/".join(map(str, path))
        del members["surplus member"]


def main():
    is_closed = sys.argv[1] == "--closed"
    with open(sys.argv[-1], encoding="utf-8") as file:
        schema = json.load(file)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    for line in sys.stdin:
        document = json.loads(line)
        found = complaint(validator, document)
        if found is None and is_closed:
            open_ones = " ".join(gaps(validator, document))
            found = "a member more goes unnoticed in " + open_ones if open_ones else None
        print(found or "ok", flush=True)


if __name__ == "__main__":
    main()
