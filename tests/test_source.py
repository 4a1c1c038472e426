"""Code hashes: a changed formula counts, a changed comment does not, an unrelated module does not."""

import shutil

import pytest

from segtrail import source


@pytest.fixture
def package(tmp_path, monkeypatch):
    copy = tmp_path / "segtrail"
    shutil.copytree(source.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(source, "PACKAGE", copy)
    source._normal_form.cache_clear()
    yield copy
    source._normal_form.cache_clear()


def edited(package, module, old, new):
    path = package / module
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    source._normal_form.cache_clear()


def test_comments_and_docstrings_do_not_count(package):
    before = source.code_hash("measures.surface")
    path = package / "measures" / "surface.py"
    path.write_text("# a comment\n" + path.read_text(encoding="utf-8") + "\n# another\n", encoding="utf-8")
    edited(package, "measures/surface.py", '"""', '"""Other words. ')
    assert source.code_hash("measures.surface") == before


def test_code_counts_in_all_that_imports_it_and_nowhere_else(package):
    before = {name: source.code_hash(name) for name in ("studies.measure", "models.training")}
    path = package / "measures" / "surface.py"
    path.write_text(path.read_text(encoding="utf-8") + "\nNEW = 1\n", encoding="utf-8")
    source._normal_form.cache_clear()
    assert source.code_hash("studies.measure") != before["studies.measure"]
    assert source.code_hash("models.training") == before["models.training"]


def test_an_unknown_module_is_an_error():
    with pytest.raises(FileNotFoundError, match="no module"):
        source.code_hash("measures.nothing")
