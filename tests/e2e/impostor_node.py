"""A node whose worker shows another TLS key than the one that its approval names."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.cli import main
from parties import node
from parties.job import PartyJob, TlsMaterial
from parties.supervisor import Process
from parties.tls import TlsKey


class OtherKey(Process):
    @classmethod
    async def start(cls, job, descriptors):
        """As the original, with a key of its own."""
        if isinstance(job, PartyJob):
            key = TlsKey.generate(job.name, now=datetime.now(UTC))
            tls = TlsMaterial(key_pem=key.key_pem.decode(), certificate=key.certificate)
            job = job.model_copy(update={"tls": tls})
        return await super().start(job, descriptors)


if __name__ == "__main__":
    node.Process = OtherKey
    main()
