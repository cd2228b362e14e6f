//! Messages with a DKIM signature.

mod fields;
mod runs;

/// A private key in PEM, and the DNS record of its public key.
type Key = (&'static str, &'static str);

const RSA: Key = (include_str!("../../data/dkim/rsa.pem"), include_str!("../../data/dkim/rsa.txt"));
const ED25519: Key =
    (include_str!("../../data/dkim/ed25519.pem"), include_str!("../../data/dkim/ed25519.txt"));
