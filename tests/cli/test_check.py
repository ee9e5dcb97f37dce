"""`raincheck check`: errors and warnings apart, a sample that is valid, a reference that is whole."""

from pathlib import Path

import pytest

from raincheck.cli.check import reference_page, sample_file
from raincheck.core.settings import OTHER_VARIABLES, SETTINGS, UPSTREAM_SETTINGS, Settings, UpstreamSettings, load
from tests.cli.desk import run


def a_file(folder: Path, text: str) -> str:
    path = folder / "raincheck.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_good_configuration_is_exit_code_0(tmp_path: Path):
    ended = run("check", "--config", a_file(tmp_path, "lease = 30"))
    assert ended.code == 0
    assert ended.lines[0].endswith("raincheck.toml: no errors, no warnings")
    assert ended.lines[1] == "would serve local (local) on 127.0.0.1:8421"


def test_errors_and_warnings_are_told_apart(tmp_path: Path):
    text = 'leese = 1\n[[upstream]]\nname = "a"\nkind = "local"\nstream = true'
    ended = run("check", "--config", a_file(tmp_path, text))
    assert ended.code == 1
    assert ended.lines[:2] == [
        "error: leese is not a setting; did you mean lease?",
        "warning: upstream a: stream has no effect with kind local",
    ]
    told = run("check", "--config", a_file(tmp_path, text), "--json")
    assert told.code == 1
    assert (len(told.json["errors"]), len(told.json["warnings"])) == (1, 1)


def test_an_open_bind_is_a_warning(tmp_path: Path):
    ended = run("check", "--config", a_file(tmp_path, '[server]\nhost = "0.0.0.0"'))
    assert ended.code == 0
    assert "warning: Refusing to listen on 0.0.0.0" in ended.stdout


def test_the_sample_is_valid_and_says_only_defaults(tmp_path: Path):
    local = UpstreamSettings(name="local", kind="local", max_concurrency=2)
    assert load(Path(a_file(tmp_path, sample_file())), environ={}) == Settings(upstreams=(local,))
    assert run("check", "--sample").stdout == sample_file()


@pytest.mark.parametrize("setting", [*SETTINGS, *UPSTREAM_SETTINGS], ids=lambda setting: setting.name)
def test_the_reference_and_the_sample_have_every_setting(setting: object):
    from raincheck.core.settings import Setting

    assert isinstance(setting, Setting)
    assert f"| `{setting.name}` |" in reference_page()
    assert f"{setting.name.rpartition('.')[2]} = " in sample_file()


def test_the_reference_has_every_variable():
    page = run("check", "--reference").stdout
    assert page == reference_page()
    assert all(f"`{name}`" in page for name in [*OTHER_VARIABLES, *(setting.variable for setting in SETTINGS)])
