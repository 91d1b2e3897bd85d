"""Compares the decoded messages of an index with protobuf's own decoder."""

from __future__ import annotations

import contextlib

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.protobuf import tensor_bundle_pb2

from tools.checkpoints.index_messages import decode_entry, decode_header
from tools.errors import IndexTableError

int32 = st.integers(-(2**31), 2**31 - 1)
int64 = st.integers(-(2**63), 2**63 - 1)
extents = st.tuples(int64, st.none() | int64)


@settings(max_examples=300)
@given(
    st.integers(0, 2**31 - 1), st.lists(int64, max_size=5), int32, int64, int64,
    st.lists(st.lists(extents, max_size=3), max_size=3), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_entries(dtype, shape, shard, offset, size, slices, checksum):
    message = tensor_bundle_pb2.BundleEntryProto(dtype=dtype, shard_id=shard, offset=offset, size=size, crc32c=checksum)
    for length in shape:
        message.shape.dim.add(size=length, name="axis")
    for part in slices:
        added = message.slices.add()
        for start, length in part:
            added.extent.add(start=start, **({} if length is None else {"length": length}))
    entry = decode_entry(message.SerializeToString())
    assert entry[:5] == (dtype, tuple(shape), shard, offset, size)
    assert entry.slices == tuple(map(tuple, slices))


def test_an_unknown_number_of_axes():
    message = tensor_bundle_pb2.BundleEntryProto(dtype=1)
    message.shape.unknown_rank = True
    assert decode_entry(message.SerializeToString()).shape is None


@given(int32)
def test_headers(shards):
    message = tensor_bundle_pb2.BundleHeaderProto(num_shards=shards, endianness=1)
    assert decode_header(message.SerializeToString()) == shards


@settings(max_examples=500)
@given(st.binary(max_size=60))
def test_what_protobuf_rejects_is_rejected(content):
    decoded = None
    with contextlib.suppress(IndexTableError):
        decoded = decode_entry(content)
    try:
        message = tensor_bundle_pb2.BundleEntryProto.FromString(content)
    except DecodeError:
        return
    if decoded is not None:
        assert (decoded.offset, decoded.size) == (message.offset, message.size)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x08", "cut off"),
        (b"\x08" + b"\xff" * 11, "too long"),
        (b"\x12\x05ab", "longer than its message"),
        (b"\x0b", "unknown wire type 3"),
        (b"\x20\x01\x20\x02", "field 4 is not one number"),
        (b"\x10\x01", "field 2 is not a message"),
        (b"\x0a\x01a", "field 1 is not one number"),
    ],
)
def test_malformed_messages(content, words):
    with pytest.raises(IndexTableError, match=words):
        decode_entry(content)
