"""A node whose worker shows another TLS key than the one that its approval names."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest import mock

from gateway.cli import main
from parties.keys.tls import TlsKey
from parties.process.job import PartyJob, TlsMaterial
from parties.service import node
from parties.service.supervisor import Process


class OtherKey(Process):
    @classmethod
    async def start(cls, job, descriptors, *command):
        """As the original, with a key of its own."""
        if isinstance(job, PartyJob):
            key = TlsKey.generate(job.name, now=datetime.now(UTC))
            tls = TlsMaterial(key_pem=key.key_pem.decode(), certificate=key.certificate)
            job = job.model_copy(update={"tls": tls})
        return await super().start(job, descriptors, *command)


if __name__ == "__main__":
    mock.patch.object(node, "Process", OtherKey).start()
    main()
