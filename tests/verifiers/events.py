"""Judges a file of single events by OCSF's own schema, and its chain by BLAKE3 of other hands.

    events.py VERSION FILE

Ends with 0 if every line is an event of its class: models made of the schema accept it, every attribute is one
that the schema knows there, and each line names the digest of the line before. Prints what is wrong otherwise.
"""

import importlib
import importlib.resources
import json
import sys
from pathlib import Path

import blake3

CLASSES = {
    1007: "ProcessActivity",
    2004: "DetectionFinding",
    2006: "DataSecurityFinding",
    4001: "NetworkActivity",
    4003: "DnsActivity",
    6002: "ApplicationLifecycle",
}
# What profiles add, which the models leave out: objects of the schema, or numbers that its dictionary lists.
PROFILES = {
    "host": {"actor": "Actor", "device": "Device"},
    "security_control": {"action_id": None, "disposition_id": None, "policy": "Policy"},
}


class Wrong(Exception):
    """A line that is no such event, and why."""


def known(model, value, path):
    """Fails where a model has no attribute of this name; what is `unmapped` is anybody's."""
    fields = {field.alias or name: field for name, field in type(model).model_fields.items()}
    for name, inner in value.items():
        if name == "unmapped":
            continue
        if name not in fields:
            raise Wrong(f"{path}{name} is no attribute of {type(model).__name__}")
        read = getattr(model, name, None)
        pairs = zip(read, inner) if isinstance(inner, list) else [(read, inner)]
        for model_of, value_of in pairs:
            if isinstance(value_of, dict) and hasattr(type(model_of), "model_fields"):
                known(model_of, value_of, f"{path}{name}.")


def of_profiles(event, schema, objects):
    """Judges what the event's profiles add to it, and returns what its class must account for."""
    rest = dict(event)
    for profile in event["metadata"]["profiles"]:
        for name, kind in PROFILES[profile].items():
            value = rest.pop(name, None)
            if value is None:
                continue
            if kind is not None:
                known(getattr(objects, kind).model_validate(value), value, f"{name}.")
            elif str(value) not in schema["dictionary"]["attributes"][name]["enum"]:
                raise Wrong(f"{name} {value} is in no list of the schema")
    return rest


def check(version, text):
    release = f"v{version.replace('.', '_')}"
    events, objects = (importlib.import_module(f"ocsf.{release}.{part}") for part in ("events", "objects"))
    schema = json.loads(importlib.resources.files("ocsf").joinpath(f"schemas/{release}.json").read_text())
    previous, number = "0" * 64, 0
    for number, line in enumerate(text.decode().splitlines(), 1):
        event = json.loads(line)
        name = CLASSES.get(event["class_uid"])
        if name is None:
            raise Wrong(f"line {number}: no class {event['class_uid']} is expected")
        try:
            model = getattr(events, name).model_validate(event)
            known(model, of_profiles(event, schema, objects), "")
        except (ValueError, Wrong) as error:
            raise Wrong(f"line {number}, {name}: {error}") from error
        if event["type_uid"] != event["class_uid"] * 100 + event["activity_id"]:
            raise Wrong(f"line {number}: type_uid {event['type_uid']}")
        if event["metadata"]["version"] != version:
            raise Wrong(f"line {number}: it says version {event['metadata']['version']}")
        if event["metadata"]["sequence"] != number or event["unmapped"]["previous"] != previous:
            raise Wrong(f"line {number} does not follow the line before it")
        previous = blake3.blake3(line.encode()).hexdigest()
    return number, previous


def main():
    version, file = sys.argv[1], Path(sys.argv[2])
    try:
        number, head = check(version, file.read_bytes())
    except Wrong as wrong:
        print(wrong)
        return 1
    print(f"{number} events, chain ends with {head}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
