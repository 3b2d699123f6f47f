"""The metadata of an ONNX file, read and written without any library: field 14 of ModelProto, pairs of key 1 and value 2."""

METADATA = 14
BYTES = 2


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def read_varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
        shift += 7


def fields(data):
    """Triples of field number, payload (`None` unless it is bytes) and the field as it stands."""
    at = 0
    while at < len(data):
        start = at
        key, at = read_varint(data, at)
        number, kind, payload = key >> 3, key & 7, None
        if kind == 0:
            _, at = read_varint(data, at)
        elif kind == 1:
            at += 8
        elif kind == 5:
            at += 4
        elif kind == BYTES:
            length, at = read_varint(data, at)
            payload = data[at:at + length]
            at += length
        else:
            raise ValueError(f"wire type {kind}")
        yield number, payload, data[start:at]


def field(number, payload):
    return varint(number << 3 | BYTES) + varint(len(payload)) + payload


def metadata(model):
    """Key and value of each entry, as bytes."""
    found = {}
    for number, payload, _ in fields(model):
        if number == METADATA:
            entry = {number: value for number, value, _ in fields(payload)}
            found[entry.get(1, b"")] = entry.get(2, b"")
    return found


def with_metadata(model, key, value):
    """The same model with another value for `key`; everything else keeps its bytes and its place."""
    out = bytearray()
    for number, payload, raw in fields(model):
        if number == METADATA and (1, key) in [(n, v) for n, v, _ in fields(payload)]:
            raw = field(METADATA, field(1, key) + field(2, value))
        out += raw
    return bytes(out)
