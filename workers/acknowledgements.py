"""Acknowledgements that fail because Redis is away must not stop the worker."""

from kombu.transport import redis, virtual


class _CreditReturningQoS(redis.QoS):
    """An acknowledgement or rejection returns the worker's credit, whether or not Redis received it.

    Kombu keeps the credit of an acknowledgement that failed. With a prefetch count of 1 the worker then reads no further message,
    and, because it reads nothing, never notices the lost connection. Redis delivers the message a second time after the visibility
    timeout at the latest; that task finds its documents unchanged.
    """

    def ack(self, delivery_tag: str) -> None:
        try:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]
        finally:
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        try:
            super().reject(delivery_tag, requeue=requeue)  # type: ignore[no-untyped-call]
        finally:
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]


def return_credit_of_failed_acknowledgements() -> None:
    """Make all Redis channels of this process, with and without Sentinels, return the credit."""
    redis.Channel.QoS = _CreditReturningQoS
