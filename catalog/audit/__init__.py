"""What is wrong in a facility, since when, and what has changed since the last audit?"""
