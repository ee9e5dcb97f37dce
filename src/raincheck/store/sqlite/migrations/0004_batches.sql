-- breaking: an older process would end rows of batches without counting them.
-- Batches: many requests that were handed in together, fed to the queues a few at a time.

create table batch (
    seq             integer primary key,
    id              text    not null unique,
    tenant          text    not null,
    dialect         text    not null check (dialect in ('openai', 'xai')),
    name            text,
    endpoint        text,
    model           text,
    status          text    not null
                    check (status in ('validating', 'in_progress', 'finalizing',
                                      'completed', 'failed', 'cancelled', 'expired')),
    ends_as         text    check (ends_as in ('completed', 'cancelled', 'expired')),
    -- Whether all its lines are known: then it is finalized as soon as they have ended.
    sealed          integer not null,
    completion_window text  not null,
    metadata        text,
    webhook_url     text,
    input_file_id   text,
    output_file_id  text,
    error_file_id   text,
    output_expires_after integer,
    errors          text,
    priority        integer not null default 3,
    created_at      integer not null,
    in_progress_at  integer,
    finalizing_at   integer,
    ended_at        integer,
    expires_at      integer not null,
    purge_at        integer,
    -- Counted in the transactions that feed and end its requests, never by looking at those.
    total           integer not null default 0,
    fed             integer not null default 0,
    completed       integer not null default 0,
    failed          integer not null default 0,
    cancelled       integer not null default 0,
    expired         integer not null default 0,
    input_tokens    integer not null default 0,
    cached_tokens   integer not null default 0,
    output_tokens   integer not null default 0,
    reasoning_tokens integer not null default 0,
    total_tokens    integer not null default 0,
    cost_ticks      integer not null default 0,
    -- The next line to feed: part, bytes into it, number.
    next_part       integer not null default 0,
    next_offset     integer not null default 0,
    next_line       integer not null default 1,
    -- The lease of whoever goes on with it; `due_at` is its end, or when there is something to do; null after the end.
    worker          text,
    fence           integer not null default 0,
    due_at          integer,
    -- What makes creating it safe to repeat, as in `seen`.
    repeat_key      text,
    fingerprint     blob,
    repeat_until    integer,
    check ((status in ('validating', 'in_progress', 'finalizing')) = (ended_at is null)),
    check ((ended_at is null) = (due_at is not null)),
    check (fed <= total and completed + failed + cancelled + expired <= total)
) strict;
create index batch_due on batch (due_at) where due_at is not null;
create index batch_listed on batch (tenant, seq);
create index batch_listed_dialect on batch (tenant, dialect, seq);
create index batch_open on batch (tenant) where ended_at is null;
create index batch_purge on batch (purge_at) where purge_at is not null;
create unique index batch_repeated on batch (tenant, repeat_key) where repeat_key is not null;

-- Where a batch's lines are: its file, or what was added call by call. Small bodies stand here, others elsewhere.
create table batch_part (
    batch_seq  integer not null,
    position   integer not null,
    first_line integer not null,
    lines      integer,
    size       integer not null,
    digest     text    not null,
    blob       text,
    body       blob,
    repeat_key text,
    primary key (batch_seq, position),
    check ((blob is null) = (body is not null))
) strict, without rowid;
create index batch_part_begins on batch_part (batch_seq, first_line);
create unique index batch_part_repeated on batch_part (batch_seq, repeat_key) where repeat_key is not null;

-- How many lines of a batch are still to be fed to which queue.
create table batch_queue (
    batch_seq integer not null,
    queue     text    not null,
    unfed     integer not null check (unfed >= 0),
    primary key (batch_seq, queue)
) strict, without rowid;

-- Lines that were fed, or added call by call. `ended` numbers the ends of a batch without gaps.
create table batch_row (
    batch_seq   integer not null,
    line        integer not null,
    custom_id   text    not null,
    request_seq integer,
    ended       integer,
    error       text,
    primary key (batch_seq, line)
) strict, without rowid;
create unique index batch_row_named on batch_row (batch_seq, custom_id);
create unique index batch_row_ended on batch_row (batch_seq, ended) where ended is not null;

alter table request add column batch_seq integer;
alter table request add column line integer;
create index request_of_batch on request (batch_seq, seq) where batch_seq is not null and ended_at is null;

-- What has ended is a request or a batch.
create table ended (
    seq         integer primary key,
    id          text    not null unique,
    tenant      text    not null,
    request_seq integer unique,
    batch_seq   integer unique,
    type        text    not null,
    webhook_url text,
    created_at  integer not null,
    check ((request_seq is null) != (batch_seq is null))
) strict;
insert into ended (seq, id, tenant, request_seq, type, webhook_url, created_at)
select seq, id, tenant, request_seq, type, webhook_url, created_at from event;
drop table event;
alter table ended rename to event;

drop view record;
create view record as
    select r.id, r.tenant, r.queue, r.operation, r.path, r.model, r.status, r.priority, r.attempt, r.max_attempts,
           r.created_at, r.started_at, r.ended_at, r.due_at, r.deadline, r.purge_at, r.progress, r.progress_message,
           r.webhook_url, r.purged,
           (select body from metadata m where m.seq = r.seq) as metadata,
           (select error from result t where t.seq = r.seq) as error,
           (select usage from result t where t.seq = r.seq) as usage,
           (select id from batch b where b.seq = r.batch_seq) as batch,
           r.seq
      from request r;
