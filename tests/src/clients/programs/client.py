"""Looks a name up, or fetches an address into a file, trusting one CA."""
import socket
import ssl
import sys
import urllib.request


def lookup(name):
    for found in socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM):
        print(found[4][0])


def fetch(url, file, ca):
    context = ssl.create_default_context(cafile=ca)
    with urllib.request.urlopen(url, context=context) as response, open(file, "wb") as out:
        out.write(response.read())


try:
    (lookup if sys.argv[1] == "lookup" else fetch)(*sys.argv[2:])
except OSError as error:
    sys.exit(f"{type(error).__name__}: {error}")
