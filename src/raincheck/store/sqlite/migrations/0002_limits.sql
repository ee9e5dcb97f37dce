-- breaking: the caps and pauses of queues move to a table of their own.
-- Limits on queues and upstreams, caps on tenants, workers, and the names of bodies that are kept elsewhere.

-- Whose place a running request has; and what it is expected to use.
alter table request add column upstream text;
alter table request add column tokens integer not null default 0;
create index request_at_upstream on request (upstream) where status = 'processing';

-- `due_at` of what is set aside because its tenant runs as many as it may: a time that never comes. Such rows are in
-- no index that a claim reads, so a tenant at its cap costs nobody anything.
create index request_parked on request (tenant, queue, priority, tag, seq)
    where status = 'pending' and due_at = 4611686018427387904;

-- Tenants that may have parked requests in a queue.
create table parked (
    queue  text not null,
    tenant text not null,
    primary key (queue, tenant)
) strict, without rowid;
create index parked_tenant on parked (tenant);

alter table tenant add column max_running integer;
create index tenant_capped on tenant (name) where max_running is not null;

-- A row only for what is limited or paused: claims of anything else lock nothing.
create table throttle (
    scope           text not null check (scope in ('queue', 'upstream')),
    name            text not null,
    max_concurrency integer check (max_concurrency >= 1),
    rpm             integer check (rpm >= 1),
    tpm             integer check (tpm >= 1),
    paused_until    integer,
    -- An operator's words; null when an upstream asked for the pause.
    pause_reason    text,
    -- With an adaptive max_concurrency: what was found so far, null otherwise (see core/adaptive.py).
    level           real,
    slowed_at       integer,
    first_token     real,
    unhurried       real,
    primary key (scope, name)
) strict, without rowid;

-- What was started in each of the last seconds, for limits per minute.
create table spent (
    scope    text    not null,
    name     text    not null,
    second   integer not null,
    requests integer not null,
    tokens   integer not null,
    primary key (scope, name, second)
) strict, without rowid;

insert into throttle (scope, name, max_concurrency, paused_until, pause_reason)
select 'queue', name, max_concurrency, paused_until, pause_reason
  from queue where max_concurrency is not null or paused_until is not null;
alter table queue drop column max_concurrency;
alter table queue drop column paused_until;
alter table queue drop column pause_reason;
-- Until when a limit per minute or a pause of its upstream holds the queue, as the last claim found, and which.
alter table queue add column held_until integer;
alter table queue add column held_reason text;
create index queue_held on queue (held_until) where held_until is not null;

create table worker (
    name       text primary key,
    host       text    not null,
    pid        integer not null,
    version    text    not null,
    started_at integer not null,
    seen_at    integer not null
) strict, without rowid;

-- Bodies in the object store. A name is noted before it is written there, doomed; the finish that refers to it lifts
-- the doom. So whatever is doomed and due has no owner and is deleted, and nothing ever has to be searched for.
create table blob (
    name      text primary key,
    doomed_at integer
) strict, without rowid;
create index blob_doomed on blob (doomed_at) where doomed_at is not null;
alter table result add column blob text;
alter table result add column size integer;
