"""Throw-away certificates of one run, made with openssl."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from classifier.errors import LabError

__all__ = ["Authority"]


class Authority:
    """A certificate authority in a folder that vanishes with the run.

    Parameters
    ----------
    folder : pathlib.Path
        Made here; holds certificates and keys.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()
        self.folder.chmod(0o755)
        self.certificate = str(self.folder / "ca.crt")
        self._key = str(self.folder / "ca.key")
        self._request("ca", "Demo CA", ["-x509", "-out", self.certificate])

    @staticmethod
    def _openssl(*argv: str) -> None:
        done = subprocess.run(["openssl", *argv], capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"openssl {argv[0]}: {(done.stderr.splitlines() or ['failed'])[-1]}")

    def _request(self, name: str, subject: str, extra: Sequence[str]) -> None:
        self._openssl(
            *["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
            *["-nodes", "-keyout", str(self.folder / f"{name}.key"), "-subj", f"/CN={subject}"],
            *["-days", "30", *extra],
        )

    def issue(self, name: str, usage: str = "serverAuth") -> tuple[str, str]:
        """Return paths of a certificate and key; usage is ``serverAuth`` or ``clientAuth``."""
        request, certificate = self.folder / f"{name}.csr", self.folder / f"{name}.crt"
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(
            f"keyUsage=digitalSignature\nextendedKeyUsage={usage}\nsubjectAltName=DNS:{name}\n"
        )
        if not certificate.exists():
            self._request(name, name, ["-out", str(request)])
            self._openssl(
                *["x509", "-req", "-in", str(request), "-CA", self.certificate],
                *["-CAkey", self._key, "-CAcreateserial", "-days", "30"],
                *["-extfile", str(extensions), "-out", str(certificate)],
            )
        return str(certificate), str(self.folder / f"{name}.key")
