-- breaking: an older process would end rows of batches without counting them.
-- Batches: many requests that were handed in together, fed to the queues a few at a time.

create table batch (
    seq             bigint generated always as identity primary key,
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
    sealed          boolean not null,
    completion_window text  not null,
    metadata        text,
    webhook_url     text,
    input_file_id   text,
    output_file_id  text,
    error_file_id   text,
    output_expires_after bigint,
    errors          text,
    priority        integer not null default 3,
    created_at      bigint  not null,
    in_progress_at  bigint,
    finalizing_at   bigint,
    ended_at        bigint,
    expires_at      bigint  not null,
    purge_at        bigint,
    -- Counted in the transactions that feed and end its requests, never by looking at those.
    total           bigint  not null default 0,
    fed             bigint  not null default 0,
    completed       bigint  not null default 0,
    failed          bigint  not null default 0,
    cancelled       bigint  not null default 0,
    expired         bigint  not null default 0,
    input_tokens    bigint  not null default 0,
    cached_tokens   bigint  not null default 0,
    output_tokens   bigint  not null default 0,
    reasoning_tokens bigint not null default 0,
    total_tokens    bigint  not null default 0,
    cost_ticks      bigint  not null default 0,
    -- The next line to feed: part, bytes into it, number.
    next_part       integer not null default 0,
    next_offset     bigint  not null default 0,
    next_line       bigint  not null default 1,
    -- The lease of whoever goes on with it; `due_at` is its end, or when there is something to do; null after the end.
    worker          text,
    fence           bigint  not null default 0,
    due_at          bigint,
    -- What makes creating it safe to repeat, as in `seen`.
    repeat_key      text,
    fingerprint     bytea,
    repeat_until    bigint,
    check ((status in ('validating', 'in_progress', 'finalizing')) = (ended_at is null)),
    check ((ended_at is null) = (due_at is not null)),
    check (fed <= total and completed + failed + cancelled + expired <= total)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
create index batch_due on batch (due_at) where due_at is not null;
create index batch_listed on batch (tenant, seq);
create index batch_listed_dialect on batch (tenant, dialect, seq);
create index batch_open on batch (tenant) where ended_at is null;
create index batch_purge on batch (purge_at) where purge_at is not null;
create unique index batch_repeated on batch (tenant, repeat_key) where repeat_key is not null;

-- Where a batch's lines are: its file, or what was added call by call. Small bodies stand here, others elsewhere.
create table batch_part (
    batch_seq  bigint  not null,
    position   integer not null,
    first_line bigint  not null,
    lines      bigint,
    size       bigint  not null,
    digest     text    not null,
    blob       text,
    body       bytea,
    repeat_key text,
    primary key (batch_seq, position),
    check ((blob is null) = (body is not null))
);
create index batch_part_begins on batch_part (batch_seq, first_line);
create unique index batch_part_repeated on batch_part (batch_seq, repeat_key) where repeat_key is not null;

-- How many lines of a batch are still to be fed to which queue.
create table batch_queue (
    batch_seq bigint not null,
    queue     text   not null,
    unfed     bigint not null check (unfed >= 0),
    primary key (batch_seq, queue)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- Lines that were fed, or added call by call. `ended` numbers the ends of a batch without gaps.
create table batch_row (
    batch_seq   bigint not null,
    line        bigint not null,
    custom_id   text   not null,
    request_seq bigint,
    ended       bigint,
    error       text,
    primary key (batch_seq, line)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
-- The name first: with the batch first, the planner would sometimes take it for the primary key's work, and walk through
-- all lines of a batch for each one that ends.
create unique index batch_row_named on batch_row (custom_id, batch_seq);
create unique index batch_row_ended on batch_row (batch_seq, ended) where ended is not null;

alter table request add column batch_seq bigint;
alter table request add column line bigint;
create index request_of_batch on request (batch_seq, seq) where batch_seq is not null and ended_at is null;

-- What has ended is a request or a batch.
alter table event alter column request_seq drop not null;
alter table event add column batch_seq bigint unique;
alter table event add check ((request_seq is null) != (batch_seq is null));

drop view record;
create view record as
    select r.id, r.tenant, r.queue, r.operation, r.path, r.model, r.status, r.priority, r.attempt, r.max_attempts,
           r.created_at, r.started_at, r.ended_at, r.due_at, r.deadline, r.purge_at, r.progress, r.progress_message,
           r.webhook_url, r.purged,
           (select m.body from metadata m where m.seq = r.seq) as metadata,
           (select t.error from result t where t.seq = r.seq) as error,
           (select t.usage from result t where t.seq = r.seq) as usage,
           (select b.id from batch b where b.seq = r.batch_seq) as batch,
           r.seq
      from request r;
