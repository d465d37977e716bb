"""What sources make of what they find."""

from __future__ import annotations

import base64
import json
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import create_engine, text

from socialvault.exceptions import ConfigurationError, StoreError
from socialvault.importers import (
    AUTHLIB_COLUMNS,
    AllauthSource,
    Columns,
    CsvSource,
    FernetSource,
    ImportRecord,
    JsonLinesSource,
    SocialAuthSource,
    TableSource,
    Unreadable,
)
from socialvault.importers.cells import moment

if TYPE_CHECKING:
    from pathlib import Path

    from support.legacy import Legacy

    from socialvault.importers import Source

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def read(source: Source) -> list[ImportRecord | str]:
    """Every record of a source, and why there is none."""
    found: list[ImportRecord | str] = []
    with closing(source):
        for page in source.pages(""):
            for row in page:
                try:
                    found.append(source.read(row))
                except Unreadable as problem:
                    found.append(f"{row.id}: {problem}")
    return found


def read_one(source: Source) -> ImportRecord:
    [record] = read(source)
    assert isinstance(record, ImportRecord), record
    return record


# --- times ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    [
        NOON, NOON.replace(tzinfo=None), NOON.astimezone(timezone(timedelta(hours=5))), NOON.timestamp(),
        int(NOON.timestamp()), str(int(NOON.timestamp())), "2026-03-04T12:00:00Z", "2026-03-04 12:00:00",
        "2026-03-04 13:00:00+01:00", b"2026-03-04 12:00:00.000000",
    ],
    ids=repr,
)  # fmt: skip
def test_times_are_read_however_they_are_written(written: Any) -> None:
    assert moment(written, UTC, "expires_at") == NOON


@pytest.mark.parametrize("written", ["soon", True, 1e30, "1e400", "nan", [], {}, "2026-13-01", b"\xff"], ids=repr)
def test_what_is_no_time_is_unreadable(written: Any) -> None:
    with pytest.raises(Unreadable, match="expires_at"):
        moment(written, UTC, "expires_at")


@pytest.mark.parametrize("written", [None, "", "  "])
def test_no_time_is_none(written: Any) -> None:
    assert moment(written, UTC, "expires_at") is None


def test_naive_times_are_of_the_zone_that_is_given(legacy: Legacy) -> None:
    if legacy.kind == "postgres":
        legacy.write("ALTER TABLE socialaccount_socialtoken ALTER expires_at TYPE timestamp")
    legacy.write("INSERT INTO socialaccount_socialaccount VALUES (1, 'x', 's', '2026-01-01', '2026-01-01', 1, '{}')")
    legacy.write("INSERT INTO socialaccount_socialtoken VALUES (1, 't', '', '2026-03-04 13:00:00', 1, NULL)")
    assert read_one(AllauthSource(legacy.url, zone=ZoneInfo("Europe/Berlin"))).expires_at == NOON
    assert read_one(AllauthSource(legacy.url)).expires_at == NOON + timedelta(hours=1)


# --- Python Social Auth -----------------------------------------------------------------------------

AT = int(NOON.timestamp())


@pytest.mark.parametrize(
    ("extra", "expires_at"),
    [
        ({"expires_in": 3600, "auth_time": AT}, NOON + timedelta(hours=1)),
        ({"expires_in": "3600", "auth_time": str(AT)}, NOON + timedelta(hours=1)),
        ({"expires": 3600, "auth_time": AT}, NOON + timedelta(hours=1)),
        ({"expires": AT}, NOON),
        ({"expires": str(AT), "auth_time": AT - 9}, NOON),
        ({"expires_on": AT, "expires_in": 5}, NOON),
        ({"expires_in": 3600}, datetime(2026, 1, 2, 4, 4, 5, 678901, tzinfo=UTC)),  # counted from `modified`
        ({"expires_in": None, "auth_time": AT}, None),
        ({}, None),
    ],
    ids=str,
)
def test_social_auth_expiries_are_read_as_social_core_reads_them(
    legacy: Legacy, extra: dict[str, Any], expires_at: datetime | None
) -> None:
    legacy.add_extra_data(1, "x", "s", json.dumps({"access_token": "t", **extra}))
    assert read_one(SocialAuthSource(legacy.url)).expires_at == expires_at


def test_social_auth_scopes_and_json_within_json(legacy: Legacy) -> None:
    legacy.add_extra_data(1, "x", "s", json.dumps({"access_token": "t", "scope": "a b"}))
    legacy.add_extra_data(2, "facebook", "s", json.dumps({"access_token": "t", "granted_scopes": ["a", "b"]}))
    legacy.add_extra_data(3, "x", "s", json.dumps(json.dumps({"access_token": "t", "scope": "a,b"})))
    assert [record.scopes for record in read(SocialAuthSource(legacy.url))] == [("a", "b")] * 3  # type: ignore[union-attr]  # fails here if one is unreadable


def test_a_row_of_social_auth_that_is_broken_is_named_by_its_id(legacy: Legacy) -> None:
    legacy.add_extra_data(1, "x", "s", "{}")
    legacy.add_extra_data(2, "twitter", "s", '{"access_token": {"oauth_token": "canary", "oauth_token_secret": "c"}}')
    legacy.add_extra_data(3, "x", "s", '{"access_token": "canary", "expires_in": "soon"}')
    legacy.add_extra_data(4, "x", "s", '["canary"]')
    legacy.add_extra_data(5, "x", "s", '{"access_token": "canary", "expires_in": 1e300, "auth_time": 1}')
    expected = [
        "1: there is no access token",
        "2: the token is of OAuth 1.0a",
        "3: expires_in is no number of seconds",
        "4: extra_data is no JSON object",
        "5: expires_in is no number of seconds",
    ]
    if legacy.kind == "sqlite":  # Postgres keeps no such thing in a JSON column
        legacy.add_extra_data(6, "x", "s", '{"access_token": "canary')
        legacy.add_extra_data(7, "x", "s", "[" * 100_000)
        expected += ["6: extra_data is malformed JSON", "7: extra_data is malformed JSON"]
    assert read(SocialAuthSource(legacy.url)) == expected


# --- tables of one's own, Authlib's among them --------------------------------------------------------


@pytest.fixture
def authlib(legacy: Legacy) -> Legacy:
    legacy.create(
        """
        CREATE TABLE oauth2token (
            id {serial}, user_id integer, name varchar(40), token_type varchar(40), access_token varchar(200),
            refresh_token varchar(200), expires_at integer
        )
        """
    )
    legacy.write(f"INSERT INTO oauth2token VALUES (1, 7, 'x', 'bearer', 'at', 'rt', {AT})")
    return legacy


def test_authlibs_table_is_read_with_its_usual_columns(authlib: Legacy) -> None:
    record = read_one(TableSource(authlib.url, "oauth2token", AUTHLIB_COLUMNS))
    assert (record.source_id, record.provider, record.owner, record.subject) == ("1", "x", "7", "")
    assert (record.access_token.reveal(), record.expires_at) == ("at", NOON)
    assert record.refresh_token is not None
    assert record.refresh_token.reveal() == "rt"


def test_tables_may_be_named_otherwise_and_lie_in_a_schema(authlib: Legacy) -> None:
    authlib.write("ALTER TABLE oauth2token RENAME TO grants")
    schema = "main"
    if authlib.kind == "postgres":
        authlib.write("CREATE SCHEMA old")
        authlib.write("ALTER TABLE grants SET SCHEMA old")
        schema = "old"
    columns = Columns(provider="=linkedin", owner="user_id")
    record = read_one(TableSource(authlib.url, "grants", columns, schema=schema, key="id"))
    assert record.provider == "linkedin"


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        (Columns(), "name the columns of provider, owner"),
        (Columns(provider="name", owner="user_id", access_token=""), "access_token"),
        (Columns(provider="name", owner="member_id"), "there is no column 'member_id' for owner"),
    ],
)
def test_columns_that_are_not_there_are_said_to_be(authlib: Legacy, columns: Columns, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        read(TableSource(authlib.url, "oauth2token", columns))


def test_keys_of_other_kinds_page_too(legacy: Legacy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socialvault.importers.database.PAGE_LENGTH", 2)
    kind = "uuid" if legacy.kind == "postgres" else "char(32)"
    legacy.create(f"CREATE TABLE grants (id {kind} PRIMARY KEY, owner text, provider text, access_token text)")
    ids = [f"{digit * 8}-{digit * 4}-{digit * 4}-{digit * 4}-{digit * 12}" for digit in "13579"]
    ids = [one if legacy.kind == "postgres" else one.replace("-", "") for one in ids]
    legacy.write("INSERT INTO grants VALUES (:id, 'o', 'x', 't')", *[{"id": one} for one in ids])
    with closing(TableSource(legacy.url, "grants")) as source:
        assert [row.id for page in source.pages("") for row in page] == ids
        assert [row.id for page in source.pages(ids[2]) for row in page] == ids[3:]
        assert (source.count(""), source.count(ids[2])) == (5, 2)


def test_ids_that_no_row_can_have_are_refused(authlib: Legacy) -> None:
    with (
        closing(TableSource(authlib.url, "oauth2token", AUTHLIB_COLUMNS)) as source,
        pytest.raises(ConfigurationError, match="no row of the source has the id 'x'"),
    ):
        source.count("x")


def test_a_primary_key_of_two_columns_needs_a_name(legacy: Legacy) -> None:
    legacy.create(
        "CREATE TABLE grants (owner integer, provider text, access_token text, PRIMARY KEY (owner, provider))"
    )
    legacy.write("INSERT INTO grants VALUES (1, 'x', 't')")
    with pytest.raises(ConfigurationError, match="no primary key of one column"):
        read(TableSource(legacy.url, "grants"))
    assert read_one(TableSource(legacy.url, "grants", key="owner")).owner == "1"
    with pytest.raises(ConfigurationError, match="has no column 'number'"):
        read(TableSource(legacy.url, "grants", key="number"))


def test_a_database_is_never_written_to(authlib: Legacy) -> None:
    with (
        closing(TableSource(authlib.url, "oauth2token", AUTHLIB_COLUMNS)) as source,
        pytest.raises(StoreError, match="can't be read"),
        source._database._connected() as connection,
    ):
        connection.execute(text("DELETE FROM oauth2token"))
        connection.commit()
    assert read_one(TableSource(authlib.url, "oauth2token", AUTHLIB_COLUMNS)).owner == "7"


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("no url, but canary", "its URL can't be parsed"),
        ("nosuch://u:canary@h/d", "no such kind of database"),
        ("mysql+pymysql://u:canary@h/d", "its driver is not installed: pip install pymysql"),
        ("postgresql+asyncpg://u:canary@h/d", "instead of postgresql[+]asyncpg name one"),
        ("sqlite:////nowhere/db.sqlite3", "there is no database at /nowhere/db.sqlite3"),
        ("sqlite://", "there is no database at an empty path"),
    ],
)
def test_a_database_that_can_not_be_opened_is_a_setting_to_mend(url: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        AllauthSource(url)
    assert "canary" not in str(caught.value)


def test_a_database_that_is_away_is_to_be_retried() -> None:
    with (
        closing(AllauthSource("postgresql+psycopg://u:canary@127.0.0.1:9/d")) as source,
        pytest.raises(StoreError, match="can't be read now: OperationalError") as caught,
    ):
        source.count("")
    assert caught.value.action == "retry"
    assert caught.value.__cause__ is None


def test_a_table_that_is_not_there_is_named(legacy: Legacy) -> None:
    with pytest.raises(ConfigurationError, match="no table 'social_auth'"):
        read(SocialAuthSource(legacy.url, table="social_auth"))
    legacy.create("CREATE TABLE other (id {serial}, provider text)")
    with pytest.raises(ConfigurationError, match="'other' has no column 'uid'"):
        read(SocialAuthSource(legacy.url, table="other"))


# --- files --------------------------------------------------------------------------------------------


def test_csv_rows_are_named_by_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "tokens.csv"
    file.write_bytes(
        b"\xef\xbb\xbfprovider,owner,subject,access_token,scopes\r\n"
        b'x,1,s1,t1,"a b"\r\n'
        b"\r\n"
        b"x,2,s2\r\n"
        b'x,"3\n3",s3,t3,\r\n'
        b"x,4,s\xff,t4,\r\n"
        b"x,5,s5,,\r\n"
    )
    first, short, folded, no_unicode, empty = read(CsvSource(file, Columns(scopes="scopes")))
    assert isinstance(first, ImportRecord)
    assert (first.source_id, first.scopes) == ("2", ("a", "b"))
    assert short == "4: the row has another number of cells than the heading"
    assert isinstance(folded, ImportRecord)
    assert (folded.source_id, folded.owner) == ("6", "3\n3")
    assert no_unicode == "7: subject is no text that can be stored"
    assert empty == "8: there is no access token"
    with closing(CsvSource(file)) as source:
        assert source.count("6") == 2


def test_a_csv_cell_beyond_all_bounds_is_one_malformed_row(tmp_path: Path) -> None:
    file = tmp_path / "tokens.csv"
    file.write_text(f"provider,owner,access_token\nx,1,{'t' * 200_000}\nx,2,t\n", "utf-8")
    broken, whole = read(CsvSource(file))
    assert broken == "2: the row is malformed CSV"
    assert isinstance(whole, ImportRecord)


def id_token(**claims: Any) -> str:
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.c2ln"


def test_token_dicts_are_read_as_authlib_keeps_them(tmp_path: Path) -> None:
    token = {"access_token": "at", "refresh_token": "rt", "expires_at": AT, "scope": "a b", "token_type": "Bearer"}
    lines: list[Any] = [
        {"provider": "x", "owner": 1, "token": {**token, "id_token": id_token(sub="s")}},
        {"provider": "x", "owner": 1, "token": {**token, "userinfo": {"sub": "s"}, "id_token": "no.token"}},
        {
            "provider": "x",
            "owner": 1,
            "subject": "s",
            "token": json.dumps({**token, "id_token": id_token(sub="other")}),
        },
        {"provider": "x", "owner": 1, "token": {**token, "id_token": "a.!!!.b"}},
    ]
    file = tmp_path / "tokens.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
    records = read(JsonLinesSource(file, Columns(token="token")))
    for record in records:
        assert isinstance(record, ImportRecord)
        assert (record.access_token.reveal(), record.expires_at, record.scopes) == ("at", NOON, ("a", "b"))
    assert [record.subject for record in records if isinstance(record, ImportRecord)] == ["s", "s", "s", ""]


def test_json_lines_that_are_broken_are_named_by_their_numbers(tmp_path: Path) -> None:
    file = tmp_path / "tokens.jsonl"
    usual = {"provider": "x", "owner": "1", "subject": "s"}
    broken = [
        '{"provider": "x", "access_token": "canary',
        "",
        '["canary"]',
        json.dumps({**usual, "access_token": ["canary"]}),
        json.dumps({**usual, "access_token": "canary", "subject": "a\0b"}),
        json.dumps({**usual, "access_token": "canary", "expires_at": "canary"}),
        json.dumps({**usual, "token": {"access_token": "canary", "token_type": "mac"}}),
        json.dumps({**usual, "token": {"access_token": "canary", "oauth_token": "canary"}}),
        json.dumps({**usual, "access_token": "canary", "scopes": "[1"}),
    ]
    file.write_text("\n".join(broken), "utf-8")
    found = read(JsonLinesSource(file, Columns(token="token", scopes="scopes")))
    assert found == [
        "1: the line is malformed JSON",
        "3: the line is no JSON object",
        "4: access_token is no text",
        "5: subject is no text that can be stored",
        "6: expires_at is no time",
        "7: the token is no bearer token",
        "8: the token is of OAuth 1.0a",
        "9: scopes is malformed JSON",
    ]
    with pytest.raises(ConfigurationError, match="no row of a file has the id 'x'"):
        JsonLinesSource(file).count("x")


def test_a_file_that_is_not_there_is_a_setting_to_mend(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read: No such file"):
        CsvSource(tmp_path / "none.csv").count("")


def test_columns_are_built_from_names() -> None:
    assert Columns.of({"owner": "user_id"}) == Columns(owner="user_id")
    with pytest.raises(ConfigurationError, match="there is no field 'user'"):
        Columns.of({"user": "user_id"})


# --- encrypted columns -----------------------------------------------------------------------------------

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


def sealed(value: str, key: str = NEW) -> str:
    return Fernet(key).encrypt(value.encode()).decode()


def test_fernet_columns_are_decrypted_under_any_of_the_keys(authlib: Legacy) -> None:
    authlib.write("DELETE FROM oauth2token")
    authlib.write("ALTER TABLE oauth2token ADD COLUMN more text")
    rows = [
        {"id": 1, "at": sealed("at"), "rt": sealed("rt", OLD)},
        {"id": 2, "at": sealed("at", OLD), "rt": ""},
        {"id": 3, "at": "plain-canary", "rt": ""},
        {"id": 4, "at": sealed("at"), "rt": sealed("rt", Fernet.generate_key().decode())},
    ]
    if authlib.kind == "postgres":
        authlib.write("ALTER TABLE oauth2token ALTER access_token TYPE text, ALTER refresh_token TYPE text")
    authlib.write("INSERT INTO oauth2token VALUES (:id, 7, 'x', 'bearer', :at, :rt, NULL, '')", *rows)
    source = FernetSource(TableSource(authlib.url, "oauth2token", AUTHLIB_COLUMNS), [NEW, OLD])
    first, second, *others = read(source)
    assert isinstance(first, ImportRecord)
    assert isinstance(second, ImportRecord)
    assert first.refresh_token is not None
    assert (first.access_token.reveal(), first.refresh_token.reveal()) == ("at", "rt")
    assert (second.access_token.reveal(), second.refresh_token) == ("at", None)
    assert others == [
        "3: access_token can't be decrypted with the keys that were given",
        "4: refresh_token can't be decrypted with the keys that were given",
    ]


def test_fernet_is_found_in_json_around_it_and_in_bytes(legacy: Legacy) -> None:
    inside = json.dumps({"access_token": sealed("at"), "refresh_token": sealed("rt"), "id": "s"})
    legacy.add_extra_data(1, "x", "s", inside)
    if legacy.kind == "sqlite":
        legacy.add_extra_data(2, "x", "s", sealed(json.dumps({"access_token": "at", "refresh_token": "rt"})))
    for record in read(FernetSource(SocialAuthSource(legacy.url), [NEW])):
        assert isinstance(record, ImportRecord)
        assert record.access_token.reveal() == "at"
    kind = "bytea" if legacy.kind == "postgres" else "blob"
    legacy.create(f"CREATE TABLE grants (id {{serial}}, owner text, provider text, secret_token {kind})")
    legacy.write("INSERT INTO grants VALUES (1, 'o', 'x', :sealed)", {"sealed": sealed("at").encode()})
    table = TableSource(legacy.url, "grants", Columns(access_token="secret_token"))
    assert read_one(FernetSource(table, [NEW], ["secret_token"])).access_token.reveal() == "at"


def test_fernet_keys_are_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = CsvSource(tmp_path / "none.csv")
    with pytest.raises(ConfigurationError, match="Fernet key 2 is malformed") as caught:
        FernetSource(source, [NEW, "canary"])
    assert "canary" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="there is no Fernet key"):
        FernetSource(source, [])
    monkeypatch.delenv("OLD_KEYS", raising=False)
    with pytest.raises(ConfigurationError, match="OLD_KEYS holds no key"):
        FernetSource.from_env(source, "OLD_KEYS")
    monkeypatch.setenv("OLD_KEYS", f"{NEW}, {OLD}")
    assert FernetSource.from_env(source, "OLD_KEYS").name == source.name


def test_nothing_that_is_read_shows_a_token(legacy: Legacy, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    caplog.set_level("DEBUG", "sqlalchemy")  # which is deaf to the level of the root
    legacy.add_extra_data(1, "x", "s", '{"access_token": "shown-canary"}')
    legacy.engine.dispose()
    caplog.clear()
    with closing(SocialAuthSource(legacy.url)) as source:
        [[row]] = source.pages("")
        record = source.read(row)
    assert record.access_token.reveal() == "shown-canary"
    shown = [repr(row), repr(record), *(entry.getMessage() for entry in caplog.records)]
    assert not [one for one in shown if "shown-canary" in one]


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'socialvault\[sqlalchemy\]'"):
        AllauthSource("sqlite:///any.db")


def test_an_engine_of_the_application_still_logs(legacy: Legacy, caplog: pytest.LogCaptureFixture) -> None:
    read(SocialAuthSource(legacy.url))
    caplog.set_level("INFO", "sqlalchemy")
    engine = create_engine(legacy.url)
    with engine.connect() as connection:
        connection.execute(text("SELECT 'logged'"))
    engine.dispose()
    assert any("logged" in entry.getMessage() for entry in caplog.records)
