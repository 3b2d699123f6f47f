"""Damaged recordings, recipes, tables of labels and model cards: as `examples/mutate.rs` does it, and more."""

EXTREMES = [0, 1, 2, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0xFFFF_FFFE, 0x7FFF_FFFF_FFFF_FFFF, (1 << 64) - 1]
HEADER = 160


def mutated(content, other, dice):
    """One to three kinds of damage; a splice takes its end from `other`."""
    content = bytearray(content)
    for _ in range(dice.randint(1, 3)):
        if content:
            _damage(content, other, dice)
    return bytes(content)


def _place(content, dice):
    reach = len(content) if dice.random() < 0.33 else min(len(content), HEADER)
    return dice.randrange(reach)


def _part(content, dice, longest):
    start = _place(content, dice)
    return slice(start, min(len(content), start + 1 + dice.randrange(longest)))


def _damage(content, other, dice):
    kind = dice.randrange(10)
    if kind == 0:
        for _ in range(dice.randint(1, 8)):
            content[_place(content, dice)] ^= 1 << dice.randrange(8)
    elif kind == 1:
        for _ in range(dice.randint(1, 8)):
            content[_place(content, dice)] = dice.randrange(256)
    elif kind == 2:
        del content[dice.randrange(len(content)):]
    elif kind == 3:
        del content[_part(content, dice, 64)]
    elif kind == 4:
        at = _place(content, dice)
        content[at:at] = dice.randbytes(dice.randint(1, 64))
    elif kind == 5:
        part = _part(content, dice, 400)
        content[part] = bytes([dice.choice([0, 255])]) * len(content[part])
    elif kind == 6:
        at = _place(content, dice)
        content[at:at] = content[_part(content, dice, 400)]
    elif kind == 7:
        del content[_place(content, dice) + 1:]
        content += other[dice.randrange(len(other)):]
    else:
        width = min(dice.choice([1, 2, 3, 4, 4, 4, 8]), len(content))
        at = min(_place(content, dice), len(content) - width)
        value = dice.choice([*EXTREMES, len(content) + dice.randrange(5), (content[at] - 2 + dice.randrange(5)) & 255])
        value &= (1 << 8 * width) - 1
        content[at:at + width] = value.to_bytes(width, dice.choice(["little", "big"]))


VALUES = ["0", "-1", "1", "2", "3.5", "1e308", "-1e308", "1e-308", "nan", "inf", "-inf", "9223372036854775807",
          "9223372036854775808", "4294967296", "1000000", "65537", "true", '""', '"x"', '"../../x"', "[]", "[0]", "[4,4]",
          "[1000000000,1,1,1]", "{}", '{ only = 99 }', '"\\u0000"', '"\\u001b[31m"', "0x7fffffffffffffff", '"cuda:999999999999"']


def mutated_text(text, dice):
    """A recipe or table of which a value, a line or a few characters are other ones."""
    lines = text.splitlines()
    for _ in range(dice.randint(1, 2)):
        kind = dice.randrange(8)
        settable = [i for i, line in enumerate(lines) if "=" in line and not line.startswith("#")]
        at = dice.randrange(len(lines))
        if kind < 4 and settable:
            at = dice.choice(settable)
            lines[at] = lines[at].split("=")[0] + "= " + dice.choice(VALUES)
        elif kind == 4:
            del lines[at]
        elif kind == 5:
            lines.insert(dice.randrange(len(lines)), lines[at])
        elif kind == 6 and lines[at]:
            place = dice.randrange(len(lines[at]))
            lines[at] = lines[at][:place] + dice.choice(list("\"'=[]{}#,\\\0\x1b\u202e7")) + lines[at][place + 1:]
        else:
            lines[at] = lines[at][::-1]
        if not lines:
            break
    return "\n".join(lines)


def mutated_bytes_of_text(text, dice):
    """A table of labels: characters and lines in disorder, and bytes that are no UTF-8."""
    found = mutated_text(text, dice).encode()
    return mutated(found, found or b"x", dice) if dice.random() < 0.5 else found
