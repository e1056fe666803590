"""A certificate of the simulator's own, made at each start and never kept."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ..._files import PRIVATE_FILE

__all__ = ["server_context"]

_NAMES = ("web.whatsapp.com", "localhost")


def server_context(host: str) -> ssl.SSLContext:
    """Return a TLS context for `host` with a new self-signed certificate; blocks for some milliseconds."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wwauth simulator")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # An hour back, for clocks that differ a little.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName(_alternatives(host)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # The standard library reads keys from files alone; this one is gone when the function returns.
    with tempfile.TemporaryDirectory(prefix="wwauth-tls-") as folder:
        path = Path(folder) / "key.pem"
        path.touch(mode=PRIVATE_FILE)
        path.write_bytes(pem)
        context.load_cert_chain(path)
    return context


def _alternatives(host: str) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in _NAMES]
    addresses = {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")}
    try:
        addresses.add(ipaddress.ip_address(host))
    except ValueError:
        if host not in _NAMES:
            names.append(x509.DNSName(host))
    return [*names, *(x509.IPAddress(address) for address in sorted(addresses, key=str))]
