"""How it is carried: Kafka, outbox, inbox, the consumer loop, parking, timers, sealing.

A file belongs here when it carries facts between services, two services need it today, and it
holds no word of the domain. This folder imports ``contracts`` only.
"""
