"""Nights: what is to run on a lab until tomorrow, shared out among its controllers by an engine that exists.

A night file says what; :mod:`harness.nights.cells` multiplies it; procrastinate queues it over the lab's PostgreSQL
(:mod:`harness.nights.engine`); each job is an ordinary pytest run whose results go to a folder or an object store
(:mod:`harness.nights.attempt`, :mod:`harness.nights.place`), and one report is made of all
(:mod:`harness.nights.merge`). Nothing here is loaded by a run of pytest.
"""
