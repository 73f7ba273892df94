"""What RQ's workers import."""


def noop(i):
    return i
