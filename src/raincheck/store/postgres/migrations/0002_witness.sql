-- What tells, after the answer to a commit was lost, whether it went through: each writer's last number, written in the
-- transaction that it counts. A writer is one of a process's connections, so nobody waits for anybody here.
create table witness (
    writer  text primary key,
    number  bigint not null,
    seen_at timestamptz not null default now()
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
