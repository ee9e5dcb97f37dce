-- The record of Raincheck. Times are microseconds since the epoch. Hot rows are narrow; bodies live apart.

-- The moment a statement speaks of: the start of its transaction by the database's clock, which all workers share, or
-- the one that a test passes in.
create function moment(at bigint) returns bigint language sql stable
    return coalesce(at, (extract(epoch from now()) * 1000000)::bigint);

create table request (
    seq           bigint generated always as identity primary key,
    id            text    not null unique,
    tenant        text    not null,
    queue         text    not null,
    operation     text    not null,
    path          text    not null,
    model         text    not null,
    status        text    not null default 'pending'
                  check (status in ('pending', 'processing', 'completed', 'failed', 'cancelled', 'expired')),
    priority      integer not null,
    tag           double precision not null,
    -- The next moment anything may happen by itself: earliest claim while pending (null: now), end of the lease while
    -- processing, null after the end. Of what is set aside because its tenant runs as many as it may: a time that
    -- never comes (4611686018427387904).
    due_at        bigint,
    deadline      bigint,
    fence         bigint  not null default 0,
    attempt       integer not null default 0,
    max_attempts  integer not null,
    tokens        bigint  not null default 0,
    worker        text,
    upstream      text,
    remote_id     text,
    progress      double precision,
    progress_message text,
    webhook_url   text,
    created_at    bigint  not null,
    started_at    bigint,
    claimed_at    bigint,
    ended_at      bigint,
    purge_at      bigint,
    purged        boolean not null default false,
    check ((status = 'processing') = (worker is not null)),
    check ((status in ('pending', 'processing')) = (ended_at is null)),
    check (status != 'processing' or due_at is not null)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.05);

-- Claims read this one in order; rows that wait for a time are not in it, so they are never scanned over.
create index request_ready on request (queue, priority, tag, seq) where status = 'pending' and due_at is null;
create index request_due on request (due_at) where due_at is not null;
create index request_running on request (queue) where status = 'processing';
create index request_at_upstream on request (upstream) where status = 'processing';
create index request_deadline on request (deadline) where deadline is not null and status = 'pending';
create index request_purge on request (purge_at) where purge_at is not null;
create index request_listed on request (tenant, seq);
create index request_listed_status on request (tenant, status, seq);
create index request_parked on request (tenant, queue, priority, tag, seq)
    where status = 'pending' and due_at = 4611686018427387904;

create table payload (
    seq  bigint primary key,
    body bytea not null
);

create table metadata (
    seq  bigint primary key,
    body text not null
);

create table result (
    seq          bigint primary key,
    status       integer,
    content_type text,
    error        text,
    usage        text,
    body         bytea,
    blob         text,
    size         bigint
);

create table attempt (
    seq        bigint  not null,
    fence      bigint  not null,
    number     integer not null,
    upstream   text,
    started_at bigint  not null,
    ended_at   bigint  not null,
    outcome    text    not null
               check (outcome in ('succeeded', 'retry', 'released', 'failed', 'expired', 'cancelled', 'lapsed')),
    error      text,
    primary key (seq, fence)
);

create table queue (
    name          text primary key,
    misses        integer not null default 0,
    -- Measured: how long one request takes, and how much time passes between two ends. Both are moving averages.
    service       double precision,
    pace          double precision,
    last_ended_at bigint,
    -- Until when a limit per minute or a pause of its upstream holds the queue, as the last claim found, and which.
    held_until    bigint,
    held_reason   text
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
create index queue_held on queue (held_until) where held_until is not null;

-- A row only for what is limited or paused: claims of anything else lock nothing.
create table throttle (
    scope           text not null check (scope in ('queue', 'upstream')),
    name            text not null,
    max_concurrency integer check (max_concurrency >= 1),
    rpm             integer check (rpm >= 1),
    tpm             integer check (tpm >= 1),
    paused_until    bigint,
    -- An operator's words; null when an upstream asked for the pause.
    pause_reason    text,
    -- With an adaptive max_concurrency: what was found so far, null otherwise (see core/adaptive.py).
    level           double precision,
    slowed_at       bigint,
    first_token     double precision,
    unhurried       double precision,
    primary key (scope, name)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- What was started in each of the last seconds, for limits per minute.
create table spent (
    scope    text    not null,
    name     text    not null,
    second   bigint  not null,
    requests integer not null,
    tokens   bigint  not null,
    primary key (scope, name, second)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- Start-time fair queueing: one virtual clock per lane (a queue's priority), one last tag per flow in it.
create table lane (
    queue        text    not null,
    priority     integer not null,
    virtual_time double precision not null default 0,
    primary key (queue, priority)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

create table flow (
    queue    text    not null,
    priority integer not null,
    tenant   text    not null,
    last_tag double precision not null,
    weight   double precision not null,
    pending  bigint  not null check (pending >= 0),
    primary key (queue, priority, tenant)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
create index flow_tenant on flow (tenant);

-- Tenants that may have parked requests in a queue.
create table parked (
    queue  text not null,
    tenant text not null,
    primary key (queue, tenant)
);
create index parked_tenant on parked (tenant);

create table event (
    seq         bigint generated always as identity primary key,
    id          text   not null unique,
    tenant      text   not null,
    request_seq bigint not null unique,
    type        text   not null,
    webhook_url text,
    created_at  bigint not null
);

-- What makes a submit safe to repeat: idempotency keys live as long as their request, fingerprints for a short while.
create table seen (
    tenant      text   not null,
    key         text   not null,
    fingerprint bytea  not null,
    request_seq bigint not null,
    expires_at  bigint,
    primary key (tenant, key)
);
create index seen_request on seen (request_seq);
create index seen_expires on seen (expires_at) where expires_at is not null;

create table tenant (
    name           text primary key,
    weight         double precision not null check (weight > 0),
    max_pending    integer,
    max_running    integer check (max_running >= 1),
    max_body_bytes bigint
);
create index tenant_capped on tenant (name) where max_running is not null;

create table api_key (
    id         text primary key,
    tenant     text   not null,
    name       text   not null,
    hint       text   not null,
    scopes     text   not null,
    digest     bytea  not null unique,
    created_at bigint not null,
    revoked_at bigint
);

create table worker (
    name       text primary key,
    host       text    not null,
    pid        integer not null,
    version    text    not null,
    started_at bigint  not null,
    seen_at    bigint  not null
) with (fillfactor = 50);

-- Bodies in the object store. A name is noted before it is written there, doomed; the finish that refers to it lifts
-- the doom. So whatever is doomed and due has no owner and is deleted, and nothing ever has to be searched for.
create table blob (
    name      text primary key,
    doomed_at bigint
);
create index blob_doomed on blob (doomed_at) where doomed_at is not null;

-- What tells, after the answer to a commit was lost, whether it went through: each writer's last number, written in the
-- transaction that it counts. A writer is one of a process's connections, so nobody waits for anybody here.
create table witness (
    writer  text primary key,
    number  bigint not null,
    seen_at timestamptz not null default now()
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- A request as it is read, in the order `rows.py` expects.
create view record as
    select r.id, r.tenant, r.queue, r.operation, r.path, r.model, r.status, r.priority, r.attempt, r.max_attempts,
           r.created_at, r.started_at, r.ended_at, r.due_at, r.deadline, r.purge_at, r.progress, r.progress_message,
           r.webhook_url, r.purged,
           (select m.body from metadata m where m.seq = r.seq) as metadata,
           (select t.error from result t where t.seq = r.seq) as error,
           (select t.usage from result t where t.seq = r.seq) as usage,
           r.seq
      from request r;
