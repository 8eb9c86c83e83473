import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.ocean.errors import BadAnswer
from jobs.ocean.parsing import Parsed, load_json, parse_list

DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


class TestLoadJson:
    @given(DOCUMENTS)
    def test_reads_what_json_reads(self, document):
        assert load_json(json.dumps(document).encode()) == document
        assert load_json(json.dumps(document, ensure_ascii=False).encode()) == document

    @pytest.mark.parametrize(
        "data",
        [
            b"[" * 65 + b"]" * 65,
            b'{"a":' * 65 + b"1" + b"}" * 65,
            b"[" * 5_000_000,
            b'["\\"' + b"[" * 100_000,
            b'"' + b"[" * 100_000,
            # Half of a character reads as a quotation mark here, and hides every bracket after it.
            ('["\u2200",' + '["a",' * 1_000_000).encode("utf-16-le"),
            "[".encode("utf-32") * 100_000,
            b"NaN",
            b"-Infinity",
            b"",
            b"\xff",
            b"9" * 10_000,
        ],
        ids=range(12),
    )
    def test_refuses_the_rest_without_falling_over(self, data):
        with pytest.raises(ValueError):
            load_json(data)

    def test_does_not_count_brackets_in_texts(self):
        document = {"a": "[[[[" * 100 + '\\"{{{{', "b": "\\\\"}

        assert load_json(json.dumps(document).encode()) == document

    @pytest.mark.parametrize("data", [b'"\\"' * 500_000, b'"' * 1_000_001, b'"' + b"\\" * 1_000_001])
    def test_is_not_slow_on_purposely_broken_texts(self, data):
        began = time.perf_counter()

        with pytest.raises(ValueError):
            load_json(data)

        assert time.perf_counter() - began < 2


class TestParseList:
    def test_gives_a_sequence_that_knows_what_it_lost(self):
        def read(entry: dict) -> int:
            if entry["n"] < 0:
                raise BadAnswer("negative", code="n")
            return entry["n"]

        parsed = parse_list([{"n": 1}, {"n": -1}, "x", {"n": 2}, {"n": 3}], limit=4, read=read, what="number")

        assert parsed == Parsed(items=(1, 2), skipped=3)
        assert list(parsed) == [1, 2]
        assert (len(parsed), parsed[1]) == (2, 2)
