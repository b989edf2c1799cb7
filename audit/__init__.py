"""``make audit``: what this project stands on. Versions, licences, hashes, what is newer, what is known to be wrong.

Everything is read from the locks. What is newer and what is known to be wrong is asked of the ecosystems' own programs,
and where their sources cannot be reached the report says so: silence is never taken for good news.
"""
