-- The operator's database. A "stream" is one epoch of one device; numbers are its seqs.

CREATE TABLE stream (
    id           INTEGER PRIMARY KEY,
    device       TEXT    NOT NULL,
    epoch        TEXT    NOT NULL,
    -- the highest seq known to exist
    top          INTEGER NOT NULL DEFAULT 0,
    -- blocks below this number are closed: nothing is missing in them
    floor        INTEGER NOT NULL DEFAULT 0,
    -- from this seq on its end is unknown (told by a later epoch), and why
    ended_from   INTEGER,
    ended_reason TEXT,
    first_heard  REAL    NOT NULL,
    last_heard   REAL    NOT NULL,
    -- grows with each change of the account
    version      INTEGER NOT NULL DEFAULT 0,
    UNIQUE (device, epoch)
);

-- The stream that a device is writing now.
CREATE TABLE device (
    device TEXT PRIMARY KEY,
    stream INTEGER NOT NULL REFERENCES stream (id)
) WITHOUT ROWID;

-- What a collector has confirmed of a stream: the version, and when (seconds since 1970).
CREATE TABLE confirm (
    collector TEXT    NOT NULL,
    stream    INTEGER NOT NULL REFERENCES stream (id),
    version   INTEGER NOT NULL DEFAULT -1,
    at        REAL    NOT NULL DEFAULT 0,
    -- seconds after which it is repeated, because something was missing; 0 = nothing was
    wait      REAL    NOT NULL DEFAULT 0,
    PRIMARY KEY (collector, stream)
) WITHOUT ROWID;

-- Places of processes that share a collector's subscriptions, until nothing waits there.
CREATE TABLE seat (
    collector TEXT    NOT NULL,
    number    INTEGER NOT NULL,
    PRIMARY KEY (collector, number)
) WITHOUT ROWID;

-- 4,096 seqs each, bit k = 4096 * block + k, least significant first. have NULL = all of them.
CREATE TABLE block (
    stream INTEGER NOT NULL,
    block  INTEGER NOT NULL,
    have   BLOB,
    told   BLOB,
    PRIMARY KEY (stream, block)
) WITHOUT ROWID;

CREATE TABLE record (
    stream   INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    kind     TEXT    NOT NULL,
    pipeline TEXT    NOT NULL,
    at       TEXT,
    received INTEGER NOT NULL,
    test     INTEGER NOT NULL,
    -- carried over from a former epoch, of which it had come already
    copy     INTEGER NOT NULL,
    body     TEXT    NOT NULL,
    PRIMARY KEY (stream, seq)
) WITHOUT ROWID;
CREATE INDEX record_received ON record (received);
CREATE INDEX record_event ON record (at) WHERE kind = 'event';

-- What gaps cover: of first..last all, or the bits (bit k = first + k).
CREATE TABLE gap (
    stream INTEGER NOT NULL,
    source INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    first  INTEGER NOT NULL,
    last   INTEGER NOT NULL,
    bits   BLOB,
    reason TEXT    NOT NULL,
    PRIMARY KEY (stream, source, seq)
) WITHOUT ROWID;

-- Evidence: state 0 awaited, 1 here, 2 told lost.
CREATE TABLE blob (
    sha256   TEXT PRIMARY KEY,
    bytes    INTEGER,
    type     TEXT    NOT NULL DEFAULT '',
    state    INTEGER NOT NULL DEFAULT 0,
    reason   TEXT    NOT NULL DEFAULT '',
    received INTEGER NOT NULL,
    data     BLOB
);

CREATE TABLE evidence (
    sha256 TEXT    NOT NULL,
    stream INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    PRIMARY KEY (sha256, stream, seq)
) WITHOUT ROWID;

-- Chunks of evidence that is not whole yet; "at" is their offset in bytes.
CREATE TABLE piece (
    sha256 TEXT    NOT NULL,
    device TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    data   BLOB    NOT NULL,
    PRIMARY KEY (sha256, device, at)
);

-- What could not be read.
CREATE TABLE refused (
    id       INTEGER PRIMARY KEY,
    received INTEGER NOT NULL,
    topic    TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    payload  BLOB    NOT NULL
);

CREATE VIEW records AS
    SELECT s.device, s.epoch, r.seq, r.kind, r.pipeline, r.at,
           datetime(r.received, 'unixepoch') AS received, r.test, r.body
    FROM record r JOIN stream s ON s.id = r.stream
    WHERE r.copy = 0;
