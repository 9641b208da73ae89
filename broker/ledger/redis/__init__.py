"""The ledger on Redis or Valkey: one server-side function for each verb; the only home of redis-py."""

from broker.ledger.redis.ledger import RedisLedger
from broker.ledger.redis.link import StoreSettings

__all__ = ["RedisLedger", "StoreSettings"]
