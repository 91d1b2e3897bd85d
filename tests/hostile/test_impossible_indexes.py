"""Indexes of checkpoints with right checksums and any entries: refused, or read without ending the process.

Bit flips do not get here, because TensorFlow compares the checksums of blocks first.
"""

from __future__ import annotations

import contextlib

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tools.checkpoints import index_files
from tools.checkpoints.reading import variable_shapes
from tools.checkpoints.values import open_reader
from tools.errors import CheckpointError

numbers = st.one_of(
    st.integers(-2, 4), st.sampled_from([24, 100, 101, 1000, 2**31 - 1, -(2**31)]), st.integers(-(2**31), 2**31 - 1)
)
longs = st.one_of(st.integers(-2, 30), st.sampled_from([2**31, 2**32, 2**62, 2**63 - 1, -(2**63)]))
shapes = st.one_of(
    st.sampled_from([(2, 3), (6,), (), (24,), (0, 5)]),
    st.lists(longs, max_size=4),
    st.integers(250, 300).map(lambda rank: (1,) * rank),
)
entries = st.builds(index_files.entry, numbers, shapes, size=longs, offset=longs, shard_id=numbers)
# Nearly right: one thing at a time is impossible.
near = st.one_of(
    st.builds(index_files.entry, numbers),
    st.builds(index_files.entry, shape=shapes),
    st.builds(index_files.entry, size=longs),
    st.builds(index_files.entry, offset=longs),
    st.builds(index_files.entry, shard_id=numbers),
)
values = st.one_of(near, entries, st.binary(max_size=40), st.just(index_files.entry()))
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, values, min_size=1, max_size=3), st.one_of(st.just(1), st.integers(-1, 3)))
def test_any_index_is_refused_or_read(tmp_path, drawn, shards):
    prefix = index_files.write(tmp_path, drawn, shards)
    for path in tmp_path.glob("model.data-*"):
        if not path.name.endswith(f"of-{shards:05d}"):
            path.unlink()
    with contextlib.suppress(CheckpointError):
        shapes_read = variable_shapes(prefix)
        assert shapes_read.keys() <= drawn.keys()
        with open_reader(prefix, "write it again") as reader:
            for name in shapes_read:
                reader.array(name)
