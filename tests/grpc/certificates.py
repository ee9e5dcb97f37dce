"""Self-signed certificates, as someone would make one at home."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def a_certificate(folder: Path, *, password: bytes | None = None) -> tuple[Path, Path]:
    """A certificate for this machine and its private key, as PEM files."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    began = datetime(2020, 1, 1, tzinfo=UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name, serial_number=x509.random_serial_number())
        .public_key(key.public_key())
        .not_valid_before(began)
        .not_valid_after(began + timedelta(days=36_500))
        .add_extension(names, critical=True)
        .sign(key, hashes.SHA256())
    )
    locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked),
    )
    return cert_file, key_file
