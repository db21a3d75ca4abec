"""Counts the nodes of an ONNX file, so that parsing has a percentage. Reads field headers and skips what they hold."""

import os

MODEL_GRAPH = 7
GRAPH_NODE = 1
_LENGTH_DELIMITED = 2


def node_count(path):
    """Nodes of the main graph; None when the file is not plain protobuf (TensorRT then says what is wrong)."""
    try:
        with open(path, "rb") as file:
            end = os.fstat(file.fileno()).st_size
            for field, start, size in _fields(file, end):
                if field == MODEL_GRAPH:
                    file.seek(start)
                    return sum(1 for inner, _, _ in _fields(file, start + size) if inner == GRAPH_NODE)
    except (OSError, ValueError):
        return None
    return None


def _fields(file, end):
    while file.tell() < end:
        key = _varint(file)
        if key & 7 == _LENGTH_DELIMITED:
            size = _varint(file)
        elif key & 7 == 0:
            _varint(file)
            size = 0
        else:
            size = {1: 8, 5: 4}.get(key & 7, -1)
        start = file.tell()
        if size < 0 or start + size > end:
            raise ValueError("not protobuf")
        yield key >> 3, start, size
        file.seek(start + size)


def _varint(file):
    value = 0
    # A 64-bit varint has at most ten bytes.
    for index in range(10):
        byte = file.read(1)
        if not byte:
            raise ValueError("ends inside a number")
        value |= (byte[0] & 0x7F) << (7 * index)
        if byte[0] < 0x80:
            return value
    raise ValueError("number without end")
