"""`raincheck check`: errors and warnings apart, a sample that is valid, a reference that is whole."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from raincheck.cli.check import reference_page, sample_file
from raincheck.core.clock import HOUR, now
from raincheck.core.configuration import load
from raincheck.core.settings import (
    OTHER_VARIABLES,
    QUEUE_SETTINGS,
    SETTINGS,
    UPSTREAM_SETTINGS,
    Settings,
)
from tests.cli.desk import Ended, run


def a_file(folder: Path, text: str) -> str:
    path = folder / "raincheck.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_good_configuration_is_exit_code_0(tmp_path: Path):
    ended = run("check", "--config", a_file(tmp_path, "lease = 30"))
    assert ended.code == 0
    assert ended.lines[0].endswith("raincheck.toml: no errors, no warnings")
    assert ended.lines[1] == "would serve local (local), preview (preview) on 127.0.0.1:8421"


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
    sampled = load(Path(a_file(tmp_path, sample_file())), environ={})
    assert replace(sampled, blobs_url=None) == Settings()
    assert run("check", "--sample").stdout == sample_file()


@pytest.mark.parametrize("setting", [*SETTINGS, *UPSTREAM_SETTINGS, *QUEUE_SETTINGS], ids=lambda setting: setting.name)
def test_the_reference_and_the_sample_have_every_setting(setting: object):
    from raincheck.core.settings import Setting

    assert isinstance(setting, Setting)
    assert f"| `{setting.name}` |" in reference_page()
    assert f"{setting.name.rpartition('.')[2]} = " in sample_file()


def test_the_reference_has_every_variable():
    page = run("check", "--reference").stdout
    assert page == reference_page()
    assert all(f"`{name}`" in page for name in [*OTHER_VARIABLES, *(setting.variable for setting in SETTINGS)])


def checked(store_url: str, **variables: str) -> Ended:
    return run("check", RAINCHECK_STORE_URL=store_url, **variables)


@pytest.mark.slow("starts a PostgreSQL")
def test_a_postgresql_that_answers_is_told_with_its_version_and_where_big_results_go():
    from tests.store.postgres.databases import databases

    url = asyncio.run(databases().lend())
    ended = checked(url)
    databases().give_back(url)
    assert ended.code == 0, ended.stdout
    assert "the store is PostgreSQL 18" in ended.stdout
    assert "big results stay in the database" in ended.stdout


@pytest.mark.slow("starts a PostgreSQL")
def test_a_clock_that_is_not_the_databases_is_a_warning(monkeypatch: pytest.MonkeyPatch):
    from raincheck.store.postgres import clocks
    from tests.store.postgres.databases import databases

    url = asyncio.run(databases().lend())
    assert "clock" not in checked(url).stdout
    monkeypatch.setattr(clocks, "now", lambda: now() - HOUR)
    ended = checked(url)
    databases().give_back(url)
    assert ended.code == 0
    assert "warning: this machine's clock is 1h behind the store's" in ended.stdout


def test_a_postgresql_that_is_not_there_is_an_error_without_its_password():
    ended = checked("postgresql://me:hush@127.0.0.1:1/raincheck")
    assert ended.code == 1
    assert "error: The store raincheck at 127.0.0.1:1 cannot be opened: nothing listens there" in ended.stdout
    assert "hush" not in ended.stdout + ended.stderr


def test_a_database_that_is_away_does_not_hide_what_else_is_wrong(tmp_path: Path):
    (tmp_path / "file").touch()
    ended = checked("postgresql://127.0.0.1:1/raincheck", RAINCHECK_STORE_BLOBS=f"{tmp_path.as_uri()}/file/blobs")
    assert ended.code == 1
    assert "nothing listens there" in ended.stdout
    assert "error: store.blobs:" in ended.stdout


def test_what_a_worker_refuses_is_an_error(tmp_path: Path):
    text = '[[upstream]]\nname = "f"\nkind = "python"\nmodels = ["m"]\nhandler = "no_such_module:run"\n'
    missing = run("check", "--config", a_file(tmp_path, text))
    assert missing.code == 1
    assert "error: upstream f (needed by all but `serve --no-worker`): The handler" in missing.stdout
    assert "no module 'no_such_module'" in missing.stdout
    auto = run("check", "--config", a_file(tmp_path, text + 'max_concurrency = "auto"'))
    assert auto.code == 1
    assert 'error: upstream f: max_concurrency "auto" is for servers' in auto.stdout


def test_programs_are_told_the_facts_too(tmp_path: Path):
    told = run("check", "--config", a_file(tmp_path, "lease = 30"), "--json").json
    assert told["facts"][0] == "would serve local (local), preview (preview) on 127.0.0.1:8421"


def test_a_password_in_the_file_is_a_warning_that_names_the_variable(tmp_path: Path):
    text = '[store]\nurl = "postgresql://me:hush@127.0.0.1:1/raincheck"'
    ended = run("check", "--config", a_file(tmp_path, text))
    assert "warning: store.url holds a password" in ended.stdout
    assert "RAINCHECK_STORE_URL" in ended.stdout
    assert "hush" not in ended.stdout + ended.stderr


def test_a_folder_for_big_results_that_cannot_be_made_is_an_error_and_none_is_made(tmp_path: Path):
    (tmp_path / "file").touch()
    refused = run("check", RAINCHECK_STORE_BLOBS=f"{tmp_path.as_uri()}/file/blobs")
    assert refused.code == 1
    assert "error: store.blobs:" in refused.stdout
    fine = run("check", RAINCHECK_STORE_BLOBS=f"{tmp_path.as_uri()}/new/blobs")
    assert fine.code == 0
    assert not (tmp_path / "new").exists()


@pytest.mark.slow("waits for a port that refuses, three times")
def test_a_bucket_that_cannot_be_reached_is_an_error_that_says_what_to_look_at(monkeypatch: pytest.MonkeyPatch):
    for name, value in (
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "hush"),
    ):
        monkeypatch.setenv(name, value)
    ended = run("check", RAINCHECK_STORE_BLOBS="s3://bucket/prefix")
    assert ended.code == 1
    assert "error: The bucket for big results" in ended.stdout
    assert "AWS_ENDPOINT_URL" in ended.stdout
    assert "hush" not in ended.stdout + ended.stderr


def test_what_the_renderer_lacks_is_told_and_an_error_where_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "no-such-ffmpeg")
    ended = run("check", "--config", a_file(tmp_path, ""))
    assert ended.code == 0
    assert "videos: none: the preview renderer needs ffmpeg: pip install 'raincheck[preview]'" in ended.lines
    ended = run("check", "--config", a_file(tmp_path, '[[upstream]]\nname = "films"\nkind = "preview"'))
    assert ended.code == 1
    assert "error: upstream films (needed by all but `serve --no-worker`): The upstream 'films'" in ended.stdout
    assert 'needs ffmpeg: pip install "raincheck[preview]"' in ended.stdout
