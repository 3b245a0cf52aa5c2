"""Certificates for tests, made with the openssl program: an authority, and what it signs."""
import subprocess


def openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


class Authority:
    """Signs certificates; its own is `ca`. Everything is in `folder`."""

    def __init__(self, folder, name="tests"):
        folder.mkdir(exist_ok=True)
        self.folder, self.ca, self._key = folder, folder / f"{name}.crt", folder / f"{name}.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 2, "-subj", f"/CN={name}",
                "-keyout", self._key, "-out", self.ca)

    def sign(self, name):
        """(certificate, key) for a server or a client of this name."""
        crt, key, csr, ext = (self.folder / f"{name.replace('*', 'any')}.{end}" for end in ("crt", "key", "csr", "ext"))
        ext.write_text(f"subjectAltName = DNS:{name}\n")
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                "-keyout", key, "-out", csr)
        openssl("x509", "-req", "-in", csr, "-CA", self.ca, "-CAkey", self._key, "-CAcreateserial", "-days", 2, "-extfile", ext,
                "-out", crt)
        return crt, key
