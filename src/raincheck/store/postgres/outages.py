"""What asyncpg raises in, StoreUnavailable out: which errors are the database's state, and what to do about each."""

import asyncpg

from raincheck.core.errors import SettingsInvalid, StoreUnavailable

BROKE = "the connection broke"

# What asyncpg says when the database, the way to it or its state, and not the statement, is at fault. (A bare
# InterfaceError is our mistake, unless the connection is closed: see `Database`.)
OUTAGES = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.TargetServerAttributeNotMatched,
    asyncpg.DuplicatePreparedStatementError,
    asyncpg.InvalidSQLStatementNameError,
    asyncpg.InternalClientError,
)
AGAIN = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    # A newer Raincheck has just changed a table under a prepared statement.
    asyncpg.InvalidCachedStatementError,
)
"""Another transaction was in the way, and this one may be tried again from its start."""

FAILURES = (*OUTAGES, asyncpg.PostgresError, asyncpg.InterfaceError)
"""All that can go wrong while a database is opened."""


def unavailable(error: BaseException, place: str = "") -> StoreUnavailable:
    """What to tell those who wanted something of the store at `place` while nothing of theirs was recorded."""
    where = f" {place}" if place else ""
    return StoreUnavailable(
        f"The store{where} cannot be used just now ({reason(error)}). Nothing was accepted; try again.", retry_after=5
    )


def unopened(error: BaseException, place: str) -> StoreUnavailable | SettingsInvalid:
    """What to tell the operator whose server cannot start."""
    match error:
        case asyncpg.ClientConfigurationError():
            return SettingsInvalid(f"The URL of the store {place} has a setting that is not understood: {error}.")
        case asyncpg.InsufficientPrivilegeError():
            why = f"{error}; make its user the owner of the database, or grant it create on the schema"
        case _:
            why = reason(error)
    return StoreUnavailable(f"The store {place} cannot be opened: {why}.", retry_after=5)


def reason(error: BaseException) -> str:
    """In words, with what to do where it is known. Never with a secret: asyncpg's own messages hold none."""
    said = BROKE if isinstance(error, asyncpg.InternalClientError) else (str(error) or type(error).__name__).rstrip(".")
    match error:
        case TimeoutError():
            return "it does not answer in time, or its connections are all in use; see to it and to the network"
        case asyncpg.QueryCanceledError():
            return "it did not answer in time"
        case asyncpg.ReadOnlySQLTransactionError():
            return "it is read-only, as a standby is; writes go on when a primary answers at this address"
        case asyncpg.DiskFullError():
            return "its disk is full; free some space"
        case asyncpg.TooManyConnectionsError():
            return f"{said}; raise max_connections there, or lower pool= in the store's URL"
        case asyncpg.TargetServerAttributeNotMatched():
            return "none of its hosts takes writes"
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return f"{said}; check user and password"
        case asyncpg.InvalidCatalogNameError():
            return f"{said}; create it first (createdb)"
        case asyncpg.DuplicatePreparedStatementError() | asyncpg.InvalidSQLStatementNameError():
            return "a pooler stands between that knows no prepared statements; add ?statement_cache_size=0 to its URL"
        case ConnectionRefusedError():
            return "nothing listens there; start it, or correct the address"
        case OSError() if error.strerror:
            return error.strerror
        case _:
            return said
