"""How a service is run: settings, database, web app, sign-in, clock, logs, metrics, process.

A file belongs here when every service must be operated the same way, two services need it today,
and it holds no word of the domain. This folder imports ``messaging`` and ``contracts`` only.
"""
