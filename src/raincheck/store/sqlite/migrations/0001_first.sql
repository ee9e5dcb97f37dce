-- The record of Raincheck. Times are microseconds since the epoch. Hot rows are narrow; bodies live apart.

create table request (
    seq           integer primary key,
    id            text    not null unique,
    tenant        text    not null,
    queue         text    not null,
    operation     text    not null,
    path          text    not null,
    model         text    not null,
    status        text    not null default 'pending'
                  check (status in ('pending', 'processing', 'completed', 'failed', 'cancelled', 'expired')),
    priority      integer not null,
    tag           real    not null,
    -- The next moment anything may happen by itself: earliest claim while pending (null: now), end of the lease while
    -- processing, null after the end.
    due_at        integer,
    deadline      integer,
    fence         integer not null default 0,
    attempt       integer not null default 0,
    max_attempts  integer not null,
    worker        text,
    remote_id     text,
    progress      real,
    progress_message text,
    webhook_url   text,
    created_at    integer not null,
    started_at    integer,
    claimed_at    integer,
    ended_at      integer,
    purge_at      integer,
    purged        integer not null default 0,
    check ((status = 'processing') = (worker is not null)),
    check ((status in ('pending', 'processing')) = (ended_at is null)),
    check (status != 'processing' or due_at is not null)
) strict;

-- Claims read this one in order; rows that wait for a time are not in it, so they are never scanned over.
create index request_ready on request (queue, priority, tag, seq) where status = 'pending' and due_at is null;
create index request_due on request (due_at) where due_at is not null;
create index request_running on request (queue) where status = 'processing';
create index request_deadline on request (deadline) where deadline is not null and status = 'pending';
create index request_purge on request (purge_at) where purge_at is not null;
create index request_listed on request (tenant, seq);
create index request_listed_status on request (tenant, status, seq);

create table payload (
    seq  integer primary key,
    body blob not null
) strict;

-- Apart from the payload, so that reading a record does not touch the largest table.
create table metadata (
    seq  integer primary key,
    body text not null
) strict;

create table result (
    seq          integer primary key,
    status       integer,
    content_type text,
    error        text,
    usage        text,
    body         blob
) strict;

create table attempt (
    seq        integer not null,
    fence      integer not null,
    number     integer not null,
    upstream   text,
    started_at integer not null,
    ended_at   integer not null,
    outcome    text    not null
               check (outcome in ('succeeded', 'retry', 'released', 'failed', 'expired', 'cancelled', 'lapsed')),
    error      text,
    primary key (seq, fence)
) strict, without rowid;

create table queue (
    name            text primary key,
    max_concurrency integer check (max_concurrency >= 1),
    paused_until    integer,
    -- An operator's words; null when an upstream asked for the pause. `misses` counts how often in a row one did.
    pause_reason    text,
    misses          integer not null default 0,
    -- Measured: how long one request takes, and how much time passes between two ends. Both are moving averages.
    service         real,
    pace            real,
    last_ended_at   integer
) strict, without rowid;

-- Start-time fair queueing: one virtual clock per lane (a queue's priority), one last tag per flow in it.
create table lane (
    queue        text    not null,
    priority     integer not null,
    virtual_time real    not null default 0,
    primary key (queue, priority)
) strict, without rowid;

create table flow (
    queue    text    not null,
    priority integer not null,
    tenant   text    not null,
    last_tag real    not null,
    weight   real    not null,
    pending  integer not null check (pending >= 0),
    primary key (queue, priority, tenant)
) strict, without rowid;
create index flow_tenant on flow (tenant);

create table event (
    seq         integer primary key,
    id          text    not null unique,
    tenant      text    not null,
    request_seq integer not null unique,
    type        text    not null,
    webhook_url text,
    created_at  integer not null
) strict;

-- What makes a submit safe to repeat: idempotency keys live as long as their request, fingerprints for a short while.
create table seen (
    tenant      text    not null,
    key         text    not null,
    fingerprint blob    not null,
    request_seq integer not null,
    expires_at  integer,
    primary key (tenant, key)
) strict, without rowid;
create index seen_request on seen (request_seq);
create index seen_expires on seen (expires_at) where expires_at is not null;

create table tenant (
    name           text primary key,
    weight         real not null check (weight > 0),
    max_pending    integer,
    max_body_bytes integer
) strict, without rowid;

create table api_key (
    id         text primary key,
    tenant     text    not null,
    name       text    not null,
    hint       text    not null,
    scopes     text    not null,
    digest     blob    not null unique,
    created_at integer not null,
    revoked_at integer
) strict, without rowid;

-- A request as it is read, in the order `rows.py` expects. Subqueries, because left joins took eight times as long.
create view record as
    select r.id, r.tenant, r.queue, r.operation, r.path, r.model, r.status, r.priority, r.attempt, r.max_attempts,
           r.created_at, r.started_at, r.ended_at, r.due_at, r.deadline, r.purge_at, r.progress, r.progress_message,
           r.webhook_url, r.purged,
           (select body from metadata m where m.seq = r.seq) as metadata,
           (select error from result t where t.seq = r.seq) as error,
           (select usage from result t where t.seq = r.seq) as usage,
           r.seq
      from request r;
