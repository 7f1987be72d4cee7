-- The ledger. {text} is TEXT ordered by bytes, so that a subtree is a range of paths in every database.
-- Money is nano-USD, times are ms since 1970 (UTC); both are BIGINT.
CREATE TABLE budget_node (
    path {text} PRIMARY KEY,
    depth INTEGER NOT NULL,
    daily_limit BIGINT,
    time_zone {text} NOT NULL,
    on_partition INTEGER,
    open_allowance BIGINT,
    on_lost INTEGER,
    version BIGINT NOT NULL,
    descendants BIGINT NOT NULL
);
CREATE TABLE budget_day (
    root {text} NOT NULL,
    period {text} NOT NULL,
    starts_at_ms BIGINT NOT NULL,
    ends_at_ms BIGINT NOT NULL,
    PRIMARY KEY (root, period)
);
CREATE TABLE budget_period (
    node {text} NOT NULL,
    period {text} NOT NULL,
    limit_nano_usd BIGINT,
    settled BIGINT NOT NULL,
    leased BIGINT NOT NULL,
    suspense BIGINT NOT NULL,
    active BIGINT NOT NULL,
    PRIMARY KEY (node, period)
);
CREATE TABLE incarnation (
    incarnation {text} PRIMARY KEY,
    sidecar_id {text} NOT NULL,
    state INTEGER NOT NULL,
    applied_seq BIGINT NOT NULL,
    sync_seq BIGINT NOT NULL,
    last_seen_ms BIGINT NOT NULL
);
CREATE INDEX incarnation_seen ON incarnation (last_seen_ms);
CREATE TABLE lease (
    lease_id {text} PRIMARY KEY,
    incarnation {text} NOT NULL,
    want_id {text} NOT NULL,
    node {text} NOT NULL,
    period {text} NOT NULL,
    amount BIGINT NOT NULL,
    settled BIGINT NOT NULL,
    state INTEGER NOT NULL,
    lossy INTEGER NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    longest_ms BIGINT NOT NULL,
    closed_at_ms BIGINT NOT NULL
);
CREATE INDEX lease_open ON lease (incarnation) WHERE state <> 3;
CREATE INDEX lease_active ON lease ((expires_at_ms + longest_ms)) WHERE state = 1;
CREATE INDEX lease_closed ON lease (closed_at_ms) WHERE state = 3;
CREATE INDEX lease_suspended ON lease (expires_at_ms) WHERE state = 2;
CREATE INDEX lease_of_period ON lease (node, period) WHERE state = 1;
CREATE TABLE spend (
    attempt_id {text} PRIMARY KEY,
    node {text} NOT NULL,
    period {text} NOT NULL,
    admitted_at_ms BIGINT NOT NULL,
    cost BIGINT,
    estimated INTEGER NOT NULL,
    input_tokens BIGINT,
    cache_read_tokens BIGINT,
    cache_write_tokens BIGINT,
    output_tokens BIGINT,
    reasoning_tokens BIGINT,
    provider {text} NOT NULL,
    model_id {text} NOT NULL,
    model {text} NOT NULL,
    outcome INTEGER NOT NULL,
    request_id {text} NOT NULL,
    provider_request_id {text} NOT NULL,
    labels {text} NOT NULL,
    lease_id {text} NOT NULL,
    incarnation {text} NOT NULL,
    seq BIGINT NOT NULL
);
CREATE INDEX spend_by_time ON spend (node, admitted_at_ms);
CREATE TABLE quarantine (
    incarnation {text} NOT NULL,
    seq BIGINT NOT NULL,
    sidecar_id {text} NOT NULL,
    reason {text} NOT NULL,
    fact {bytes} NOT NULL,
    set_aside_at_ms BIGINT NOT NULL,
    PRIMARY KEY (incarnation, seq, sidecar_id)
);
INSERT INTO budget_node (path, depth, time_zone, version, descendants) VALUES ('default', 0, 'UTC', 1, 0);
