"""Many devices in few processes: real protocol, trust and deployments; proof and pipelines from
a table of outcomes. Read `device` first."""
