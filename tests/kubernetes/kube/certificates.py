"""The cluster's certificate authority. Keys and certificates are made by the openssl program."""

import collections

DAYS = 2

REQUEST = """
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = unused
[extensions]
"""
OF_AUTHORITY = """
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""
OF_OTHERS = """
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = {usage}
authorityKeyIdentifier = keyid
{names}
"""

Credentials = collections.namedtuple("Credentials", ["certificate", "key"])  # files


class Authority:
    """A CA and what it issued, as files of one folder. `run` runs a program to its end."""

    def __init__(self, folder, run):
        self.folder = folder
        self.run = run
        folder.mkdir()
        self.own = self.make("ca", "/CN=istmo-test-cluster", OF_AUTHORITY)

    @property
    def certificate(self):
        return self.own.certificate

    def issue_to_user(self, name, groups=()):
        """To a client: an API server takes O for the groups and CN for the name."""
        subject = "".join(f"/O={group}" for group in groups) + f"/CN={name}"
        return self.issue(name, subject, usage="clientAuth", names="")

    def issue_to_server(self, name, hosts, addresses):
        names = ",".join([f"DNS:{host}" for host in hosts]
                         + [f"IP:{address}" for address in addresses])
        return self.issue(name, f"/CN={name}", usage="serverAuth",
                          names=f"subjectAltName = {names}")

    def issue(self, name, subject, **extensions):
        return self.make(name.replace(":", "-"), subject, OF_OTHERS.format(**extensions),
                         "-CA", self.own.certificate, "-CAkey", self.own.key)

    def make(self, stem, subject, extensions, *issuer):
        made = Credentials(self.folder / f"{stem}.crt", self.folder / f"{stem}.key")
        config = self.folder / f"{stem}.cnf"
        config.write_text(REQUEST + extensions)
        self.run(["openssl", "req", "-x509", *issuer, "-config", config, "-subj", subject,
                  "-days", DAYS, "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                  "-keyout", made.key, "-out", made.certificate])
        return made

    def make_signing_key(self, name):
        """For service account tokens."""
        key = self.folder / f"{name}.key"
        self.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048",
                  "-out", key])
        return key
