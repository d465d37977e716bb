"""`check` says how a database differs from this release's tables."""

from __future__ import annotations

CHANGES = [
    ("DROP INDEX connections_candidates", "add_index connections_candidates on connections"),
    ("CREATE INDEX more ON connections (owner)", "remove_index more on connections"),
    ("DROP TABLE keks", "add_table keks"),
    ("ALTER TABLE connections ADD COLUMN colour TEXT", "remove_column colour on connections"),
    ("ALTER TABLE data_keys DROP COLUMN seals", "add_column seals on data_keys"),
]
POSTGRES_CHANGES = [
    ("ALTER TABLE revocations ALTER COLUMN attempt TYPE BIGINT", "revocations.attempt: modify_type"),
    ('ALTER TABLE connections ALTER COLUMN subject TYPE TEXT COLLATE "pg_c_utf8"', "connections.subject: modify_type"),
    ("ALTER TABLE connections ALTER COLUMN owner DROP NOT NULL", "connections.owner: modify_nullable"),
]


def test_each_difference_is_told(subject):
    subject.migrations.upgrade()
    changes = CHANGES + (POSTGRES_CHANGES if subject.kind == "postgresql" else [])
    for change, _ in changes:
        subject.run(change)
    found = subject.migrations.check()
    for _, said in changes:
        assert [line for line in found if said in line], said


def test_a_partial_index_over_other_rows_is_told(subject):
    subject.migrations.upgrade()
    subject.run("DROP INDEX connections_account")
    subject.run(
        "CREATE UNIQUE INDEX connections_account ON connections"
        " (subject, issuer, client_id, provider, tenant, parent_id, shared_with) WHERE status IN ('active', 'revoked')"
    )
    [found] = subject.migrations.check()
    assert "connections_account is of other rows" in found


def test_a_unique_index_that_is_not_is_told(subject):
    subject.migrations.upgrade()
    subject.run("DROP INDEX keks_primary")
    subject.run("CREATE INDEX keks_primary ON keks (state) WHERE state = 'primary'")
    assert any("keks_primary" in line for line in subject.migrations.check())


def test_other_tables_of_the_database_do_not_count(subject):
    subject.migrations.upgrade()
    subject.run("CREATE TABLE articles (id INTEGER PRIMARY KEY, title TEXT)")
    subject.run("CREATE INDEX titles ON articles (title)")
    assert subject.migrations.check() == []
