"""Certificates of the TLS tests, made by the `openssl` command when first asked for.

    authority ── server, both, second, expired, future, elsewhere, wildcard, wrong_purpose, revoked, client, client_expired, client_revoked
        └─ intermediate ── chained (its file has the intermediate's certificate), unchained (its file has not)
    stranger ── strange_server, strange_client             (nobody trusts the stranger)
    self_signed

Every leaf has the same key.  No pytest here: child processes import it too.
"""
import atexit
import os
import shutil
import ssl
import subprocess
import tempfile

CONFIG = """
[ca]
default_ca = it
[it]
database = index.txt
new_certs_dir = .
default_md = sha256
default_days = 30
default_crl_days = 30
rand_serial = yes
unique_subject = no
policy = any
[any]
commonName = supplied
[authority]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""

HERE = "DNS:localhost,IP:127.0.0.1"
# name: (issuer, subjectAltName, extendedKeyUsage, first day, last day)
LEAVES = {
    "server": ("authority", HERE, "serverAuth", None, None),
    "both": ("authority", HERE, "serverAuth,clientAuth", None, None),
    "second": ("authority", "DNS:second.example", "serverAuth", None, None),
    "expired": ("authority", HERE, "serverAuth", "200101000000Z", "210101000000Z"),
    "future": ("authority", HERE, "serverAuth", "450101000000Z", "460101000000Z"),
    "elsewhere": ("authority", "DNS:elsewhere.example,IP:127.0.0.99", "serverAuth", None, None),
    "wildcard": ("authority", "DNS:*.wild.example", "serverAuth", None, None),
    "wrong_purpose": ("authority", HERE, "clientAuth", None, None),
    "revoked": ("authority", HERE, "serverAuth", None, None),
    "client": ("authority", "email:someone@example.org", "clientAuth", None, None),
    "client_expired": ("authority", "email:someone@example.org", "clientAuth", "200101000000Z", "210101000000Z"),
    "client_revoked": ("authority", "email:someone@example.org", "clientAuth", None, None),
    "chained": ("intermediate", HERE, "serverAuth", None, None),
    "unchained": ("intermediate", HERE, "serverAuth", None, None),
    "strange_server": ("stranger", HERE, "serverAuth", None, None),
    "strange_client": ("stranger", "email:someone@example.org", "clientAuth", None, None),
}
REVOKED = "revoked", "client_revoked"

_folder = None


def _run(*words):
    got = subprocess.run(["openssl", *words], cwd=_folder, capture_output=True, text=True)
    if got.returncode:
        raise RuntimeError(f"openssl {' '.join(words)}: {got.stderr}")


def _request(name):
    _run("req", "-new", "-config", "config", "-key", "key", "-subj", f"/CN={name}", "-out", f"{name}.request")


def _sign(name, issuer, extensions, *dates):
    with open(os.path.join(_folder, "extensions"), "w") as file:
        file.write(f"[default]\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n{extensions}\n")
    _request(name)
    _run("ca", "-batch", "-notext", "-config", "config", "-cert", f"{issuer}.pem", "-keyfile", "key", "-in", f"{name}.request", "-out", f"{name}.pem",
         "-extfile", "extensions", "-extensions", "default", *dates)


def _append(name, *others):
    with open(os.path.join(_folder, name), "a") as file:
        for other in others:
            with open(os.path.join(_folder, other)) as source:
                file.write(source.read())


def _make():
    """All of them, in a folder that goes when the process ends."""
    with open(os.path.join(_folder, "config"), "w") as file:
        file.write("[req]\ndistinguished_name = any\n" + CONFIG)
    open(os.path.join(_folder, "index.txt"), "w").close()
    _run("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "key")
    for name in ("authority", "stranger"):
        _run("req", "-x509", "-config", "config", "-extensions", "authority", "-key", "key", "-days", "30", "-subj", f"/CN={name}", "-out", f"{name}.pem")
    _sign("intermediate", "authority", "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign")
    for name, (issuer, names, usage, first, last) in LEAVES.items():
        dates = ("-startdate", first, "-enddate", last) if first else ()
        _sign(name, issuer, f"subjectAltName={names}\nextendedKeyUsage={usage}", *dates)
    _append("chained.pem", "intermediate.pem")
    _run("req", "-x509", "-config", "config", "-key", "key", "-days", "30", "-subj", "/CN=localhost", "-addext", f"subjectAltName={HERE}",
         "-out", "self_signed.pem")
    for name in REVOKED:
        _run("ca", "-config", "config", "-cert", "authority.pem", "-keyfile", "key", "-revoke", f"{name}.pem")
    _run("ca", "-config", "config", "-cert", "authority.pem", "-keyfile", "key", "-gencrl", "-out", "crl.pem")


def path(name):
    """The file of a certificate, `key`, or `crl`."""
    global _folder
    if _folder is None:
        _folder = tempfile.mkdtemp(prefix="asyncloop-certs-")
        atexit.register(shutil.rmtree, _folder, ignore_errors=True)
        _make()
    return os.path.join(_folder, name if name == "key" else f"{name}.pem")


def _limit(context, version):
    if version is not None:
        context.minimum_version = context.maximum_version = version


def server_context(name="server", *, version=None, clients=ssl.CERT_NONE, alpn=None):
    """A server's context; clients: ssl.CERT_OPTIONAL or CERT_REQUIRED asks them for a certificate of the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path(name), path("key"))
    context.verify_mode = clients
    if clients is not ssl.CERT_NONE:
        context.load_verify_locations(path("authority"))
    if alpn:
        context.set_alpn_protocols(alpn)
    _limit(context, version)
    return context


def client_context(name=None, *, version=None, trusts="authority", alpn=None):
    """A client's context, which trusts that authority; name: the client's own certificate."""
    context = ssl.create_default_context(cafile=path(trusts))
    if name:
        context.load_cert_chain(path(name), path("key"))
    if alpn:
        context.set_alpn_protocols(alpn)
    _limit(context, version)
    return context
