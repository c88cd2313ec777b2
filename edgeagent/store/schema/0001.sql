-- The outbox of one device. One writing thread; readers see only what is on the medium
-- (write-ahead log, synchronous = FULL). Numbers are "seq" of the epoch in `account`.

CREATE TABLE account (
    id              INTEGER PRIMARY KEY CHECK (id = 1),
    device          TEXT    NOT NULL,
    machine         TEXT    NOT NULL,
    epoch           TEXT    NOT NULL,
    born_at         TEXT    NOT NULL,
    -- counts transactions: after a COMMIT that failed tells whether it happened all the same
    commits         INTEGER NOT NULL DEFAULT 0,
    -- the account: `produced` is also the last seq, since seqs have no holes
    produced        INTEGER NOT NULL DEFAULT 0 CHECK (produced  >= 0),
    delivered       INTEGER NOT NULL DEFAULT 0 CHECK (delivered >= 0),
    pending         INTEGER NOT NULL DEFAULT 0 CHECK (pending   >= 0),
    dropped         INTEGER NOT NULL DEFAULT 0 CHECK (dropped   >= 0),
    -- everything up to here is settled and told; its particulars are forgotten
    folded          INTEGER NOT NULL DEFAULT 0,
    folded_dropped  INTEGER NOT NULL DEFAULT 0,
    -- results are thinned to one in 100 ms * 2^level
    level           INTEGER NOT NULL DEFAULT 0,
    CHECK (produced = delivered + pending + dropped),
    CHECK (folded <= produced AND folded_dropped <= folded)
);

-- account.dropped by reason
CREATE TABLE dropped (
    reason TEXT PRIMARY KEY,
    count  INTEGER NOT NULL CHECK (count > 0)
) WITHOUT ROWID;

-- What waits to be delivered, and what was delivered lately. `kind` is a number of
-- encode.KINDS, `crc` is encode.checksum of the body.
CREATE TABLE record (
    seq  INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    crc  INTEGER NOT NULL,
    body BLOB    NOT NULL
);

-- Sets of seqs as ranges:
--   settled            no record in it is pending: delivered, or covered by a gap
--   acked              sent and acknowledged by the broker, not yet confirmed by the collectors
--   unsynced <boot>    committed in that boot before its clock could be trusted
--   confirmed <name>   what that collector has
CREATE TABLE range (
    name  TEXT    NOT NULL,
    first INTEGER NOT NULL,
    last  INTEGER NOT NULL CHECK (last >= first),
    PRIMARY KEY (name, first)
) WITHOUT ROWID;

-- What gaps cover. Bit k of `bits` = first + k, least significant first; NULL = all of
-- first..last, which lie in one block of 4096 seqs (block = first / 4096).
CREATE TABLE gap (
    seq    INTEGER PRIMARY KEY,
    block  INTEGER NOT NULL,
    first  INTEGER NOT NULL,
    last   INTEGER NOT NULL CHECK (last >= first AND last / 4096 = first / 4096),
    reason TEXT    NOT NULL,
    bits   BLOB
);
CREATE INDEX gap_block ON gap (block);

-- How far a block of 4096 seqs has been thinned.
CREATE TABLE block (
    block INTEGER PRIMARY KEY,
    level INTEGER NOT NULL
);

-- Epochs that a gap of this epoch has told of.
CREATE TABLE past (
    epoch  TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    at     TEXT NOT NULL
) WITHOUT ROWID;

-- A database set aside whose pending records are being carried into this one.
CREATE TABLE carry (
    folder TEXT PRIMARY KEY,
    upto   INTEGER NOT NULL
) WITHOUT ROWID;

-- Events that have begun and not ended. `key` is the pipeline's own name for it within one
-- process (`session`).
CREATE TABLE event (
    id       TEXT PRIMARY KEY,
    pipeline TEXT NOT NULL,
    key      TEXT NOT NULL,
    session  TEXT NOT NULL,
    data     BLOB NOT NULL
) WITHOUT ROWID;

-- Evidence. state: 0 waits for its record, or to be sent · 1 sent · 2 dropped
CREATE TABLE blob (
    sha256 TEXT PRIMARY KEY,
    seq    INTEGER NOT NULL,
    bytes  INTEGER NOT NULL,
    type   TEXT    NOT NULL,
    state  INTEGER NOT NULL DEFAULT 0,
    next   INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX blob_seq ON blob (seq);

-- Records that the broker will never take.
CREATE TABLE dead (
    epoch  TEXT    NOT NULL,
    seq    INTEGER NOT NULL,
    reason TEXT    NOT NULL,
    at     TEXT    NOT NULL,
    body   BLOB    NOT NULL,
    PRIMARY KEY (epoch, seq)
) WITHOUT ROWID;

CREATE TABLE command (
    number  INTEGER PRIMARY KEY,
    id      TEXT    NOT NULL UNIQUE,
    type    TEXT    NOT NULL,
    digest  TEXT    NOT NULL,
    issuer  TEXT    NOT NULL,
    at      TEXT    NOT NULL,
    since   TEXT    NOT NULL,
    status  BLOB    NOT NULL,
    final   INTEGER NOT NULL DEFAULT 0,
    cleared INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX command_open ON command (final) WHERE final = 0;

CREATE TABLE memory (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;
