-- breaking: an older process would end requests without telling anyone.
-- Which moments a caller wants to be told of (words between spaces; null: every end), and whether with the result.
alter table request add column webhook_events text;
alter table request add column webhook_result boolean not null default false;
alter table request add column webhook_told_at bigint;
alter table batch add column webhook_events text;

create table endpoint (
    seq             bigint  generated always as identity primary key,
    id              text    not null unique,
    tenant          text    not null,
    name            text    not null,
    url             text    not null,
    event_types     text    not null,
    include_result  boolean not null,
    signature       text    not null,
    created_at      bigint  not null,
    updated_at      bigint  not null,
    disabled_at     bigint,
    disabled_reason text
);
create index endpoint_listed on endpoint (tenant, seq);

-- The types of endpoint.event_types, one by one; `*` is every end.
create table subscription (
    tenant       text   not null,
    type         text   not null,
    endpoint_seq bigint not null,
    primary key (tenant, type, endpoint_seq)
);
create index subscription_endpoint on subscription (endpoint_seq);

-- What deliveries are signed with; the owner is an endpoint, or `tenant:NAME` for the webhook_urls of its requests.
-- `previous` has those before, the newest first, as a JSON list of pairs: a secret, and until when it signs too.
create table signing_key (
    owner      text   primary key,
    secret     text   not null,
    created_at bigint not null,
    previous   text   not null default '[]'
);

-- Where deliveries go, and how it has been doing: an endpoint's id, or `TENANT ORIGIN` for webhook_urls. Ends never
-- touch it; claims and what came of them lock it.
create table receiver (
    name          text    primary key,
    failures      integer not null,
    failing_since bigint,
    open_until    bigint,
    places        integer not null,
    used_at       bigint  not null,
    slow          boolean not null default false
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
create index receiver_used on receiver (used_at);

-- due_at: while it waits, when the next attempt is due; while it is sent, when its lease lapses. Parked deliveries have
-- none: they wait for a place at their receiver. While a receiver has parked ones, one of its own is due or being sent,
-- or its endpoint is disabled.
create table delivery (
    seq            bigint  generated always as identity primary key,
    id             text    not null unique,
    tenant         text    not null,
    receiver       text    not null,
    endpoint_id    text,
    url            text,
    event_id       text    not null,
    type           text    not null,
    object_id      text    not null,
    created_at     bigint  not null,
    detail         text,
    include_result boolean not null,
    test           boolean not null default false,
    status         text    not null,
    attempt        integer not null default 0,
    fence          bigint  not null default 0,
    due_at         bigint,
    worker         text,
    ended_at       bigint,
    status_code    integer,
    error          text
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
create index delivery_due on delivery (due_at) where due_at is not null;
create index delivery_sent on delivery (receiver) where worker is not null;
create index delivery_waiting on delivery (receiver, due_at) where worker is null and due_at is not null;
create index delivery_parked on delivery (receiver, seq) where status = 'pending' and due_at is null;
create index delivery_listed on delivery (tenant, seq);
create index delivery_of_receiver on delivery (receiver, seq);
create index delivery_failed on delivery (tenant, seq) where status = 'failed';
create index delivery_about on delivery (object_id);
create index delivery_kept on delivery (status, created_at);

create table delivery_attempt (
    delivery_seq bigint  not null,
    fence        bigint  not null,
    number       integer not null,
    started_at   bigint  not null,
    ended_at     bigint  not null,
    status_code  integer,
    error_code   text,
    error        text,
    response     text,
    primary key (delivery_seq, fence)
);

drop view record;
create view record as
    select r.id, r.tenant, r.queue, r.operation, r.path, r.model, r.status, r.priority, r.attempt, r.max_attempts,
           r.created_at, r.started_at, r.ended_at, r.due_at, r.deadline, r.purge_at, r.progress, r.progress_message,
           r.webhook_url, r.purged,
           (select m.body from metadata m where m.seq = r.seq) as metadata,
           (select t.error from result t where t.seq = r.seq) as error,
           (select t.usage from result t where t.seq = r.seq) as usage,
           (select b.id from batch b where b.seq = r.batch_seq) as batch,
           r.webhook_events, r.webhook_result,
           r.seq
      from request r;
