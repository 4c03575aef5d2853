"""Ways in which a disk, a tool or a person spoils one file, or what lies beside it."""

import json
import os
import random

ODD_VALUES = (0, -1, 0.5, 1e308, -1e308, 2**63, 2**70, None, True, "", "x" * 5000, [], {}, [0.0], [[]], {"a": 1}, "é\0")
ODD_NAMES = (".DS_Store", "x.sqlite", "0.json", "-1", "ü", "a b", "x" * 250, "²", "1.sqlite", "config.json.tmp", "\n")
DEEP = b"[" * 200_000
ENDLESS = b"9" * 5_000


def paths_of(value, path=()):
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, held in inner:
        yield (*path, name)
        yield from paths_of(held, (*path, name))


def changed_json(data, chance):
    """The value with one or two of those inside it changed; the bytes as they are where they are no JSON with any."""
    try:
        content = json.loads(data)
    except ValueError:
        return data
    for _ in range(chance.randint(1, 2)):
        paths = list(paths_of(content))
        if not paths:
            break
        *inner, name = chance.choice(paths)
        at = content
        for step in inner:
            at = at[step]
        if isinstance(at, dict) and chance.random() < 0.2:
            del at[name]
        else:
            at[name] = chance.choice(ODD_VALUES)
    return json.dumps(content).encode()


def flipped(data, chance):
    data = bytearray(data)
    for _ in range(chance.randint(1, 20)):
        if data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def zeroed(data, chance):
    first = chance.randrange(len(data) + 1)
    last = min(len(data), first + chance.choice([1, 64, 4096]))
    return data[:first] + bytes(last - first) + data[last:]


def overwritten(data, chance):
    first = chance.randrange(len(data) + 1)
    return data[:first] + chance.randbytes(200) + data[first + 200 :]


IN_BYTES = {
    "truncated": lambda data, chance: data[: chance.randrange(len(data) + 1)],
    "emptied": lambda data, chance: b"",
    "flipped": flipped,
    "zeroed": zeroed,
    "doubled": lambda data, chance: data + data,
    "overwritten": overwritten,
    "changed": changed_json,
    "deep": lambda data, chance: DEEP,
    "endless number": lambda data, chance: ENDLESS,
    "no object": lambda data, chance: chance.choice([b"[1, 2]", b"null", b'"x"', b"3"]),
}
OTHERWISE = ("swapped", "folder", "loop", "dangling link", "unreadable", "removed", "beside")


def damage(path, others, chance: random.Random):
    """Spoil the file at ``path`` in one way; says which."""
    way = chance.choice([*IN_BYTES, *OTHERWISE])
    if way in IN_BYTES:
        path.write_bytes(IN_BYTES[way](path.read_bytes(), chance))
    elif way == "beside":
        stray = path.with_name(chance.choice(ODD_NAMES))
        if not os.path.lexists(stray):
            chance.choice([stray.mkdir, lambda: stray.write_bytes(chance.randbytes(40)), stray.touch])()
        return f"{stray.name!r} beside"
    elif way == "unreadable":
        path.chmod(0)
    else:
        taken = chance.choice(others).read_bytes()
        path.unlink()
        if way == "swapped":
            path.write_bytes(taken)
        elif way == "folder":
            path.mkdir()
        elif way in ("loop", "dangling link"):
            path.symlink_to(path.name if way == "loop" else "nowhere")
    return way
