"""How the configuration wants the outbox."""

from __future__ import annotations

from edgeagent.config.load import Loaded
from edgeagent.config.units import seconds, size_bytes
from edgeagent.store.settings import OutboxSettings


def outbox_settings(loaded: Loaded) -> OutboxSettings:
    """Sizes, times and priorities of its outbox."""
    outbox, sync, storage = loaded.config.outbox, loaded.config.sync, loaded.config.storage
    daily = storage.max_written_per_day
    return OutboxSettings(
        max_bytes=size_bytes(outbox.max),
        when_full=outbox.when_full,
        events_s=seconds(outbox.durability.events),
        results_s=seconds(outbox.durability.results),
        keep_sent_s=seconds(outbox.keep_sent),
        blobs_bytes=size_bytes(outbox.blobs),
        queue=outbox.queue,
        confirm=sync.confirm,
        collectors=tuple(sync.collectors),
        resend_after_s=seconds(sync.resend_after),
        priorities={name: pipeline.priority for name, pipeline in loaded.config.pipelines.items()},
        shares={
            name: pipeline.share
            for name, pipeline in loaded.config.pipelines.items()
            if pipeline.share < 1.0
        },
        written_per_day=size_bytes(daily) if daily else None,
        storage_bytes=size_bytes(storage.max),
        overwrite=loaded.config.retention.records is not None,
    )
