-- Incidents that `fleet alerts` has found. Times are seconds since 1970.

CREATE TABLE alert (
    kind     TEXT             NOT NULL,
    -- the device, rollout or epoch that it is about; empty = all of them
    subject  TEXT             NOT NULL,
    since    DOUBLE PRECISION NOT NULL,
    sentence TEXT             NOT NULL,
    -- more for programs, JSON
    detail   TEXT             NOT NULL,
    -- when it was over; 0 = it goes on
    ended    DOUBLE PRECISION NOT NULL DEFAULT 0,
    -- 0 = nobody knows of it, -1 = some, 1 = all who are to know
    told     BIGINT           NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, subject)
);
