"""What is said: events, their wire form, topics, and who may open what is sealed in them.

A file belongs here when two services must agree on it byte for byte. This folder imports
nothing of ours, and knows neither Kafka nor a database.
"""
