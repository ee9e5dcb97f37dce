"""`raincheck keys`: made beside a running server, shown once, refused when revoked."""

from hashlib import sha256
from pathlib import Path

from tests.cli.desk import Ended, run, run_at
from tests.server import running_server


def keys(folder: Path, *arguments: str) -> Ended:
    return run("keys", *arguments, "--store", f"sqlite:///{folder / 'raincheck.db'}")


def test_a_key_is_shown_once_and_only_its_beginning_is_kept(tmp_path: Path):
    made = keys(tmp_path, "create", "laptop", "--tenant", "lab")
    [secret] = made.lines
    assert (made.code, len(secret), secret[:3]) == (0, 46, "rc_")
    [row] = keys(tmp_path, "list").lines
    assert row.split("\t")[1:5] == ["laptop", f"{secret[:8]}…", "lab", "read,write"]
    assert secret.encode() not in (tmp_path / "raincheck.db").read_bytes()


def test_a_key_as_json_has_all_but_its_hash(tmp_path: Path):
    made = keys(tmp_path, "create", "reader", "--scopes", "read", "--json").json
    assert (made["name"], made["scopes"], made["revoked_at"]) == ("reader", ["read"], None)
    [listed] = keys(tmp_path, "list", "--json").json
    assert listed == {name: value for name, value in made.items() if name != "key"}
    assert sha256(made["key"].encode()).hexdigest() not in str(made)


def test_wrong_names_scopes_sizes_and_ids_are_told(tmp_path: Path):
    assert keys(tmp_path, "create", "x", "--scopes", "admin").code == 2
    assert keys(tmp_path, "create", "x", "--max-body", "huge").code == 2
    assert keys(tmp_path, "create", "x", "--max-body", "0").code == 2
    for name in ("", " ", "a\nb"):
        assert keys(tmp_path, "create", name).code == 2
        assert keys(tmp_path, "create", "x", "--tenant", name).code == 2
    unknown = keys(tmp_path, "revoke", "key_nobody")
    assert unknown.code == 3
    assert keys(tmp_path, "list").stderr == "no keys yet\n"


async def test_the_first_key_closes_an_open_server_and_a_revoked_one_is_refused(tmp_path: Path):
    """G8: with its tenant's caps in force."""
    async with running_server(tmp_path) as server:
        store = ["--store", f"sqlite:///{tmp_path / 'raincheck.db'}"]
        made = (await run_at(server, "keys", "create", "a", "--max-body", "1KiB", "--json", *store)).json
        assert (await server.get("/v1/requests", authorization=f"Bearer {made['key']}")).status == 200
        long = await run_at(server, "submit", "x" * 2000, "-m", "m", RAINCHECK_API_KEY=made["key"])
        assert long.code == 1
        assert "2" in long.stderr
        assert (await run_at(server, "keys", "revoke", made["id"], *store)).code == 0
        [row] = (await run_at(server, "keys", "list", *store)).lines
        assert "revoked" in row
