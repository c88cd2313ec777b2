-- Rollouts, and what devices and groups were told to be. Times are seconds since 1970.

-- The last document that these tools published on a desired topic: brokers forget.
CREATE TABLE desired (
    topic TEXT             PRIMARY KEY,
    rev   BIGINT           NOT NULL,
    body  TEXT             NOT NULL,
    at    DOUBLE PRECISION NOT NULL
);

CREATE TABLE rollout (
    id      TEXT             PRIMARY KEY,
    created DOUBLE PRECISION NOT NULL,
    author  TEXT             NOT NULL,
    prefix  TEXT             NOT NULL,
    plan    TEXT             NOT NULL,
    state   TEXT             NOT NULL,
    -- why it is in that state
    reason  TEXT             NOT NULL DEFAULT '',
    -- what a person asked of it, until the process that drives it has seen it
    wish    TEXT             NOT NULL DEFAULT '',
    wave    BIGINT           NOT NULL DEFAULT 0,
    ended   DOUBLE PRECISION NOT NULL DEFAULT 0,
    -- the process that drives it, and when it last did
    driver  TEXT             NOT NULL DEFAULT '',
    beat    DOUBLE PRECISION NOT NULL DEFAULT 0
);

CREATE TABLE rollout_device (
    rollout   TEXT             NOT NULL,
    device    TEXT             NOT NULL,
    -- place in the order in which they are asked
    place     BIGINT           NOT NULL,
    wave      BIGINT           NOT NULL,
    profile   TEXT             NOT NULL,
    standing  TEXT             NOT NULL,
    step      TEXT             NOT NULL,
    reason    TEXT             NOT NULL,
    detail    TEXT             NOT NULL,
    was       TEXT             NOT NULL,
    wished    TEXT             NOT NULL,
    rev       BIGINT           NOT NULL,
    recalled  BIGINT           NOT NULL,
    asked     DOUBLE PRECISION NOT NULL,
    reached   DOUBLE PRECISION NOT NULL,
    committed DOUBLE PRECISION NOT NULL,
    ended     DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (rollout, device)
);

CREATE TABLE rollout_wave (
    rollout  TEXT             NOT NULL,
    wave     BIGINT           NOT NULL,
    opened   DOUBLE PRECISION NOT NULL,
    closed   DOUBLE PRECISION NOT NULL DEFAULT 0,
    -- what was found about its outputs, as JSON
    findings TEXT             NOT NULL DEFAULT '[]',
    PRIMARY KEY (rollout, wave)
);

CREATE TABLE rollout_note (
    rollout TEXT             NOT NULL,
    number  BIGINT           NOT NULL,
    at      DOUBLE PRECISION NOT NULL,
    what    TEXT             NOT NULL,
    text    TEXT             NOT NULL,
    PRIMARY KEY (rollout, number)
);
