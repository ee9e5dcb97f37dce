"""Settings: precedence, every error at once, suggestions, secrets, safe binding."""

from pathlib import Path

import pytest

from raincheck.core import configuration
from raincheck.core.clock import DAY, SECOND
from raincheck.core.configuration import lacks_to_draw, load, read
from raincheck.core.errors import SettingsInvalid
from raincheck.core.model import Limits
from raincheck.core.settings import (
    QUEUE_SETTINGS,
    SETTINGS,
    UPSTREAM_SETTINGS,
    Settings,
    UpstreamSettings,
    bind_problem,
    is_postgresql,
    sqlite_path,
)

STORE_URL_WORDS = (
    "must be sqlite:///path (three slashes and a relative path, four for an absolute one) "
    "or postgresql://user@host:port/database"
)


def a_file(folder: Path, text: str) -> Path:
    path = folder / "raincheck.toml"
    path.write_text(text, encoding="utf-8")
    return path


def errors_of(folder: Path, text: str, **variables: str) -> list[str]:
    return read(a_file(folder, text), environ=variables).errors


def upstreams_of(flags: dict[str, object]) -> list[UpstreamSettings]:
    return list(load(environ={}, flags=flags).upstreams)


def test_without_any_configuration_the_embedded_upstreams_are_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    settings = load(environ={})
    assert settings == Settings(
        upstreams=(
            UpstreamSettings(name="local", kind="local", max_concurrency=2),
            UpstreamSettings(name="preview", kind="preview", max_concurrency=1),
        ),
        blobs_url=(tmp_path / "raincheck-blobs").as_uri(),
    )


def test_defaults_in_the_table_are_those_of_the_records():
    filled = {setting.field: getattr(Settings(), setting.field) for setting in SETTINGS if "." not in setting.field}
    one = UpstreamSettings(name="x")
    assert filled.pop("blobs_url") is None  # It depends on the store's URL.
    for name in ("public_url", "scratch", "grpc_port", "grpc_cert", "grpc_key"):
        assert filled.pop(name) is None
    for setting in SETTINGS:
        if setting.field in filled:
            assert setting.unit.read(_toml(setting.default)) == filled[setting.field], setting.name
    for setting in UPSTREAM_SETTINGS:
        if setting.default:
            assert setting.unit.read(_toml(setting.default)) == getattr(one, setting.field), setting.name


def _toml(written: str) -> object:
    import tomllib

    return tomllib.loads(f"it = {written}")["it"]


def test_every_setting_has_a_sentence_and_a_variable_of_its_own():
    variables = [setting.variable for setting in SETTINGS]
    assert len(set(variables)) == len(variables)
    assert all(setting.help.endswith(".") for setting in (*SETTINGS, *UPSTREAM_SETTINGS, *QUEUE_SETTINGS))
    assert {"RAINCHECK_PORT", "RAINCHECK_STORE_URL", "RAINCHECK_LEASE"} < set(variables)


def test_the_file_gives_way_to_variables_and_those_to_flags(tmp_path: Path):
    path = a_file(tmp_path, 'grace = "1m"\n[server]\nhost = "::1"\nport = 1\n[store]\nurl = "sqlite:///file.db"')
    environ = {"RAINCHECK_PORT": "2", "RAINCHECK_STORE_URL": "variable.db"}
    settings = load(path, environ=environ, flags={"store.url": "/flag.db", "server.host": None})
    assert (settings.host, settings.port, settings.grace) == ("::1", 2, 60 * SECOND)
    assert sqlite_path(settings.store_url) == Path("/flag.db")


def test_the_file_named_by_a_variable_is_read(tmp_path: Path):
    path = a_file(tmp_path, 'retention = "2d"\n[server]\nmax_body = "1MiB"\nallowed_hosts = ["a", "b"]')
    settings = load(environ={"RAINCHECK_CONFIG": str(path)})
    assert (settings.retention, settings.max_body_bytes, settings.allowed_hosts) == (2 * DAY, 1 << 20, ("a", "b"))


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path):
    with pytest.raises(SettingsInvalid, match=r"nowhere\.toml cannot be read: No such file"):
        load(tmp_path / "nowhere.toml", environ={})


def test_broken_toml_is_one_error_with_its_line(tmp_path: Path):
    assert "line 2" in errors_of(tmp_path, 'lease = "1m"\nport = 1 2\nx = 3')[0]


def test_all_errors_are_told_at_once_and_suggest_the_nearest_name(tmp_path: Path):
    text = (
        'leese = 3\ngrace = "soon"\n[server]\nport = 70000\nlease = 5\n[store]\nurl = "mysql://x"\n[stoer]\nurl = "y"'
    )
    errors = errors_of(tmp_path, text, RAINCHECK_PROT="1", RAINCHECK_MAX_ATTEMPTS="many")
    assert errors == [
        "leese is not a setting; did you mean lease?",
        "grace must be a number of seconds, or a number with ms, s, m, h or d, as in 15s",
        "server.port must be a whole number from 1 to 65535",
        "server.lease is not a setting; did you mean lease?",
        f"store.url {STORE_URL_WORDS}",
        "stoer.url is not a setting; did you mean store.url?",
        "RAINCHECK_PROT is not a setting; did you mean RAINCHECK_PORT?",
        "RAINCHECK_MAX_ATTEMPTS must be a whole number from 1 to 100",
    ]


def test_load_raises_with_every_error(tmp_path: Path):
    with pytest.raises(SettingsInvalid) as caught:
        load(a_file(tmp_path, "a = 1\nb = 2"), environ={})
    assert caught.value.message.count("is not a setting") == 2


def test_a_wrong_flag_is_named_as_it_was_typed():
    assert read(environ={}, flags={"server.port": 0}).errors == ["--port must be a whole number from 1 to 65535"]


def test_variables_of_the_client_of_keys_and_of_kubernetes_are_left_alone(tmp_path: Path):
    text = '[[upstream]]\nname = "a"\nbase_url = "http://a:1"\napi_key_env = "RAINCHECK_A_KEY"'
    environ = {
        "RAINCHECK_BASE_URL": "http://x",
        "RAINCHECK_A_KEY": "secret",
        "RAINCHECK_PORT": "tcp://10.0.0.1:8421",
        "RAINCHECK_PORT_8421_TCP_ADDR": "10.0.0.1",
        "RAINCHECK_SERVICE_HOST": "10.0.0.1",
    }
    assert load(a_file(tmp_path, text), environ=environ).port == 8421


def test_upstream_tables_are_read_whole(tmp_path: Path):
    text = """
        max_concurrency = 8
        [[upstream]]
        name = "gpu"
        base_url = "http://10.0.0.5:8000"
        models = ["qwen3-*"]
        max_concurrency = 64
        api_key_env = "GPU_KEY"
        stream = false
        silence_timeout = "10s"
        [[upstream]]
        name = "mine"
        kind = "python"
        handler = "app:handle"
        models = ["words"]
        [queue."qwen3-8b"]
        max_concurrency = 4
    """
    settings = load(a_file(tmp_path, text), environ={"GPU_KEY": "secret"})
    gpu, mine = settings.upstreams
    assert gpu == UpstreamSettings(
        name="gpu",
        base_url="http://10.0.0.5:8000/v1",
        models=("qwen3-*",),
        max_concurrency=64,
        api_key="secret",
        stream=False,
        silence_timeout=10 * SECOND,
    )
    assert (mine.kind, mine.handler, mine.max_concurrency) == ("python", "app:handle", 8)
    assert settings.queue_limits == {"qwen3-8b": Limits(max_concurrency=4)}
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("table", "error"),
    [
        ('base_url = "http://a"', "upstream 1: name is missing"),
        ('name = "a"', "upstream a: base_url is missing"),
        ('name = "a"\nkind = "python"\nhandler = "m:f"', "upstream a: models is missing"),
        (
            'name = "a"\nkind = "pyhton"',
            "upstream a: kind must be `openai` or `videos` or `xai` or `python` or `local`",
        ),
        ('name = "a"\nbase_ur = "http://a"', "upstream a: base_ur is not a setting; did you mean base_url?"),
        ('name = "a"\nbase_url = "a:80"', "upstream a: base_url must be an http:// or https:// URL"),
        ('name = "a"\nbase_url = "http://a:port"', "upstream a: base_url must be an http:// or https:// URL"),
        ('name = "a"\nbase_url = "http://a"\napi_key_env = "NONE"', "upstream a: api_key_env names NONE, which is not"),
        ('name = "a"\nkind = "local"\nmodel_path = "/no.gguf"', "upstream a: model_path /no.gguf is not a file"),
    ],
)
def test_a_wrong_upstream_is_an_error_that_names_it(tmp_path: Path, table: str, error: str):
    [found] = errors_of(tmp_path, f"[[upstream]]\n{table}")
    assert found.startswith(error)


@pytest.mark.parametrize(
    "table", ['base_url = "http://a"\napi_key = "hush-hush"', 'base_url = "https://user:hush-hush@a/v1"']
)
def test_secrets_in_the_file_are_refused_and_not_repeated(tmp_path: Path, table: str):
    [error] = errors_of(tmp_path, f'[[upstream]]\nname = "a"\n{table}')
    assert "api_key_env" in error
    assert "hush" not in error


def test_two_upstreams_of_one_name_and_misshapen_tables_are_errors(tmp_path: Path):
    twice = '[[upstream]]\nname = "a"\nbase_url = "http://a"\n' * 2
    assert errors_of(tmp_path, twice) == ["upstream a: the name is used twice"]
    assert errors_of(tmp_path, '[upstream]\nname = "a"') == ["upstream must be tables, each headed [[upstream]]"]
    assert errors_of(tmp_path, "queue = 1")[0].startswith("queue : must be a table")


def test_a_setting_without_effect_is_a_warning(tmp_path: Path):
    reading = read(a_file(tmp_path, '[[upstream]]\nname = "a"\nkind = "local"\nbase_url = "http://a"'), environ={})
    assert (reading.errors, reading.warnings) == ([], ["upstream a: base_url has no effect with kind local"])


def test_urls_make_upstreams_named_by_place_each_name_once():
    one, two, three = upstreams_of({"upstreams": ["http://a:8000", "http://a:8000/other/v1", "https://b"]})
    assert (one.name, one.base_url, one.kind, one.max_concurrency) == ("a:8000", "http://a:8000/v1", "openai", 32)
    assert (two.name, two.base_url) == ("a:8000#2", "http://a:8000/other/v1")
    assert (three.name, three.base_url) == ("b", "https://b/v1")


def test_flags_shape_the_upstreams_of_the_file_too(tmp_path: Path):
    path = a_file(tmp_path, '[[upstream]]\nname = "a"\nbase_url = "http://a"\nmax_concurrency = 9')
    [one] = load(path, environ={}, flags={"max_concurrency": 3}).upstreams
    assert one.max_concurrency == 3
    [other] = load(path, environ={"RAINCHECK_UPSTREAMS": "http://b"}).upstreams
    assert (other.name, other.max_concurrency) == ("b", 32)


def test_a_model_path_is_served_beside_other_upstreams(tmp_path: Path):
    weights = tmp_path / "my.gguf"
    weights.touch()
    remote, local = upstreams_of({"upstreams": ["http://a"], "model_path": str(weights)})
    assert (remote.kind, remote.model_path) == ("openai", None)
    assert (local.kind, local.model_path) == ("local", str(weights))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_key(host: str):
    assert bind_problem(Settings(host=host), has_keys=False) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org"])
def test_any_other_address_needs_a_key_first(host: str):
    problem = bind_problem(Settings(host=host), has_keys=False)
    assert problem is not None
    assert "raincheck keys create" in problem
    assert bind_problem(Settings(host=host), has_keys=True) is None


def test_the_log_level_is_a_setting_with_a_variable(tmp_path: Path):
    path = a_file(tmp_path, '[log]\nlevel = "warning"')
    assert load(path, environ={}).log_level == "warning"
    assert load(path, environ={"RAINCHECK_LOG_LEVEL": "debug"}).log_level == "debug"
    assert errors_of(tmp_path, '[log]\nlevel = "loud"') == [
        "log.level must be `debug` or `info` or `warning` or `error`"
    ]


def test_settings_that_name_no_upstream_serve_the_embedded_ones():
    embedded = [(one.name, one.kind, one.max_concurrency) for one in Settings().upstreams]
    assert embedded == [("local", "local", 2), ("preview", "preview", 1)]


def test_without_what_the_renderer_needs_only_text_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "no-such-ffmpeg")
    assert lacks_to_draw() == ["ffmpeg"]
    assert [one.kind for one in load(a_file(tmp_path, ""), environ={}).upstreams] == ["local"]


def test_any_ffmpeg_will_do_for_the_renderer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The one on the PATH as well, without imageio-ffmpeg."""
    ffmpeg = tmp_path / "ffmpeg"
    ffmpeg.touch(mode=0o755)
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    def found(name: str) -> object | None:
        return None if name == "imageio_ffmpeg" else object()

    monkeypatch.setattr(configuration, "find_spec", found)
    assert lacks_to_draw() == []
    ffmpeg.unlink()
    assert lacks_to_draw() == ["ffmpeg"]


def test_lengths_and_sizes_out_of_bounds_are_errors_of_the_setting(tmp_path: Path):
    errors = errors_of(tmp_path, "", RAINCHECK_RETENTION="99999999999d", RAINCHECK_MAX_BODY="0")
    assert errors == [
        "RAINCHECK_RETENTION must be at most 36500d",
        "RAINCHECK_MAX_BODY must be from 1 byte to 1GB",
    ]


def test_upstream_tables_in_the_plural_are_put_right(tmp_path: Path):
    text = '[[upstreams]]\nname = "a"\nbase_url = "http://a"'
    assert errors_of(tmp_path, text) == ["[[upstreams]] is not a table; did you mean [[upstream]]?"]


def test_limits_are_read_per_upstream_and_queue_and_auto_stands_for_a_number(tmp_path: Path):
    """G7: what is set here holds over all workers."""
    text = """
        [[upstream]]
        name = "a"
        base_url = "http://a"
        max_concurrency = "auto"
        rpm = 600
        tpm = 1000000
        [queue."m"]
        max_concurrency = "auto"
        [queue."n"]
        rpm = 120
        tpm = 5000
        [queue."o"]
    """
    settings = load(a_file(tmp_path, text), environ={})
    assert settings.upstreams[0].limits == Limits(max_concurrency="auto", rpm=600, tpm=1_000_000)
    assert settings.queue_limits == {"m": Limits(max_concurrency="auto"), "n": Limits(rpm=120, tpm=5000)}


def test_auto_may_stand_in_the_variable_and_the_flag():
    [one] = load(environ={"RAINCHECK_MAX_CONCURRENCY": "auto", "RAINCHECK_UPSTREAMS": "http://a"}).upstreams
    [other] = upstreams_of({"max_concurrency": "auto", "upstreams": ["http://a"]})
    assert one.max_concurrency == other.max_concurrency == "auto"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ('max_concurrency = "many"', 'max_concurrency must be a whole number from 1 to 100000, or "auto"'),
        ("max_concurrency = 0", 'max_concurrency must be a whole number from 1 to 100000, or "auto"'),
        ("rpm = 0", "rpm must be a whole number from 1 to 1000000000"),
        ('tpm = "auto"', "tpm must be a whole number from 1 to 1000000000"),
    ],
)
def test_limits_of_the_wrong_kind_are_errors(tmp_path: Path, line: str, error: str):
    assert errors_of(tmp_path, f'[queue."m"]\n{line}') == [f'queue."m".{error}']


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db/raincheck",
        "postgresql://me:hush@db.example:5433/raincheck?sslmode=require",
        "postgresql://me@one:5432,two:5433,[::1]:5434/raincheck?target_session_attrs=read-write",
        "postgresql:///raincheck?host=/var/run/postgresql",
        "postgresql://",
    ],
)
def test_a_postgresql_url_is_a_store_also_one_of_several_hosts(url: str):
    assert load(environ={"RAINCHECK_STORE_URL": url}).store_url == url
    short = url.replace("postgresql", "postgres", 1)
    assert is_postgresql(load(environ={}, flags={"store.url": short}).store_url)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://me:hush@db/raincheck",
        "postgresql://me:hu/sh@db/raincheck",
        "postgresql://me:12/hush@db/raincheck",
        "postgresql://me:hush@db:port/raincheck",
        "postgresql+asyncpg://me:hush@db/raincheck",
        "sqlite:///",
    ],
)
def test_a_store_url_that_is_none_is_refused_without_repeating_it(url: str):
    [error] = read(environ={"RAINCHECK_STORE_URL": url}).errors
    assert error == f"RAINCHECK_STORE_URL {STORE_URL_WORDS}"
    assert "hush" not in error


def test_a_password_in_the_file_is_a_warning_and_nowhere_shown(tmp_path: Path):
    url = "postgresql://me:hush@db/raincheck"
    reading = read(a_file(tmp_path, f'[store]\nurl = "{url}"'), environ={})
    assert reading.settings.store_url == url
    assert reading.errors == []
    assert [line.partition(":")[0] for line in reading.warnings] == ["store.url holds a password"]
    assert "hush" not in repr(reading)
    assert read(environ={"RAINCHECK_STORE_URL": url}).warnings == []


def test_big_results_go_beside_a_sqlite_file_and_where_they_are_told_to(tmp_path: Path):
    beside = load(environ={}, flags={"store.url": str(tmp_path / "a b" / "it.db")})
    assert beside.blobs_url == f"{tmp_path.as_uri()}/a%20b/raincheck-blobs"
    (tmp_path / "a b").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "a b" / "it.db")
    assert load(environ={}, flags={"store.url": str(tmp_path / "link.db")}).blobs_url == beside.blobs_url
    assert load(environ={"RAINCHECK_STORE_URL": "postgresql://db/x"}).blobs_url is None
    for told, taken in (
        ("s3://bucket/prefix/", "s3://bucket/prefix"),
        ("file:///var/lib/blobs", "file:///var/lib/blobs"),
        (str(tmp_path), tmp_path.as_uri()),
    ):
        assert load(a_file(tmp_path, f'[store]\nblobs = "{told}"'), environ={}).blobs_url == taken


@pytest.mark.parametrize(
    "url", ["gs://bucket", "s3://", "file://host/x", "file:///", "s3://key:hush@bucket", "s3://b?a"]
)
def test_another_place_for_big_results_is_an_error(url: str):
    [error] = read(environ={"RAINCHECK_STORE_BLOBS": url}).errors
    assert error.startswith("RAINCHECK_STORE_BLOBS must be file:///folder or s3://bucket/prefix")
    assert "hush" not in error
