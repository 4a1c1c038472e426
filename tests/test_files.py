"""Files appear whole or not at all."""

import pytest

from segtrail.files import atomic, read_json, seed_of, sha256_of, sha256_of_file, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    with pytest.raises(FileNotFoundError), atomic(path) as temporary:
        temporary.write_text((tmp_path / "missing").read_text())
    assert read_json(path) == {"x": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_equal_values_give_equal_bytes_and_hashes(tmp_path):
    write_json(tmp_path / "a", {"x": 1, "y": [1.5, None]})
    write_json(tmp_path / "b", {"y": [1.5, None], "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sha256_of_file(tmp_path / "a") == sha256_of_file(tmp_path / "b")
    assert sha256_of({"x": 1, "y": 2}) == sha256_of({"y": 2, "x": 1}) != sha256_of({"x": 1, "y": 3})


def test_seeds_depend_on_every_part_and_on_their_order():
    seeds = {seed_of(1, "a", 2), seed_of("a", 1, 2), seed_of(1, "a", 3), seed_of(1, "a2"), seed_of(2, "a", 2)}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of(1, "a", 2) == seed_of(1, "a", 2)
