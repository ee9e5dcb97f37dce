-- breaking: an older process would purge requests without letting go of their files.
-- Files that belong to requests, files that tenants uploaded, remote jobs to be stopped, and shared secrets.

-- How many results, attachments and files are in a blob; it is doomed when the last of them goes.
alter table blob add column holders integer not null default 0;
update blob set holders = 1 where doomed_at is null;

-- Whose job `remote_id` is.
alter table request add column remote_upstream text;

-- A tenant's videos stand among any number of other requests.
create index request_videos on request (tenant, seq) where substr(operation || '.', 1, 6) = 'video.';
create index request_videos_status on request (tenant, status, seq) where substr(operation || '.', 1, 6) = 'video.';

create table attachment (
    seq          integer not null,
    role         text    not null check (role in ('input', 'output')),
    position     integer not null,
    name         text    not null,
    blob         text    not null,
    content_type text    not null,
    size         integer not null,
    digest       text    not null,
    primary key (seq, role, position)
) strict, without rowid;

create table file (
    seq          integer primary key,
    id           text    not null unique,
    tenant       text    not null,
    filename     text    not null,
    purpose      text    not null,
    content_type text    not null,
    size         integer not null,
    digest       text    not null,
    blob         text    not null,
    created_at   integer not null,
    expires_at   integer
) strict;
create index file_listed on file (tenant, seq);
create index file_listed_purpose on file (tenant, purpose, seq);
create index file_expires on file (expires_at) where expires_at is not null;

-- Jobs at upstreams whose requests have ended without them.
create table stray (
    id         integer primary key,
    upstream   text    not null,
    remote_id  text    not null,
    created_at integer not null,
    due_at     integer not null,
    tries      integer not null default 0
) strict;
create index stray_due on stray (upstream, due_at);
create index stray_since on stray (created_at);

-- Random bytes that all processes on this store share.
create table secret (
    name  text primary key,
    value blob not null
) strict, without rowid;
