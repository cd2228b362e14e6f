//! The properties of a certificate that a TLS library may refuse, read from its bytes without a judgement.
//!
//! # Decisions
//! - The library's parser refuses whole certificates for their form (version 1, an unknown critical extension), and
//!   with them their keys. This parser only extracts the key and the few facts that explain a refusal: RFC 5280 4.1.

use std::fmt;

use rustls::{CertificateError, Error, OtherError};

/// The library refuses RSA keys with fewer bits.
const LEAST_RSA: usize = 2048;
/// The library refuses RSA keys with more bits.
const MOST_RSA: usize = 8192;

/// Object identifiers, as they are encoded in a certificate, and their names.
const RSA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
const RSA_PSS: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a";
const NAMES: [(&[u8], &str); 14] = [
    (RSA, "RSA"),
    (RSA_PSS, "RSASSA-PSS"),
    (b"\x2a\x86\x48\xce\x38\x04\x01", "DSA"),
    (b"\x2b\x65\x71", "Ed448"),
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x02", "md2WithRSAEncryption"),
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04", "md5WithRSAEncryption"),
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05", "sha1WithRSAEncryption"),
    (b"\x2a\x86\x48\xce\x3d\x04\x01", "ecdsa-with-SHA1"),
    (b"\x2a\x86\x48\xce\x38\x04\x03", "dsa-with-sha1"),
    (b"\x2b\x81\x04\x00\x0a", "an elliptic curve key on secp256k1"),
    (b"\x2b\x81\x04\x00\x21", "an elliptic curve key on secp224r1"),
    (b"\x2b\x24\x03\x03\x02\x08\x01\x01\x07", "an elliptic curve key on brainpoolP256r1"),
    (b"\x2b\x24\x03\x03\x02\x08\x01\x01\x0b", "an elliptic curve key on brainpoolP384r1"),
    (b"\x2b\x24\x03\x03\x02\x08\x01\x01\x0d", "an elliptic curve key on brainpoolP512r1"),
];

/// An obstacle in the form or the algorithms of a certificate, in words that follow "the certificate ...".
#[derive(Debug)]
pub(super) struct Obstacle(pub String);

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Obstacle {}

impl From<Obstacle> for Error {
    fn from(obstacle: Obstacle) -> Error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(std::sync::Arc::new(obstacle))))
    }
}

/// The public key of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PublicKey<'a> {
    /// The algorithm with its parameters: the content of an AlgorithmIdentifier.
    pub algorithm: &'a [u8],
    /// The key itself.
    pub bytes: &'a [u8],
}

/// The facts that are read from a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts<'a> {
    /// The version: 1, 2 or 3.
    version: u8,
    /// The algorithm of the signature.
    signed_with: &'a [u8],
    pub key: PublicKey<'a>,
}

impl<'a> Facts<'a> {
    /// Parses a certificate in DER; `None` if the bytes are not a certificate.
    pub fn read(certificate: &'a [u8]) -> Option<Facts<'a>> {
        let (certificate, _) = expect(SEQUENCE, certificate)?;
        let (tbs, _) = expect(SEQUENCE, certificate)?;
        let (version, rest) = match element(tbs)? {
            (VERSION, version, rest) => (expect(INTEGER, version)?.0.last()?.checked_add(1)?, rest),
            _ => (1, tbs),
        };
        let (_serial, rest) = expect(INTEGER, rest)?;
        let (signed_with, rest) = expect(SEQUENCE, rest)?;
        let (_issuer, rest) = expect(SEQUENCE, rest)?;
        let (_validity, rest) = expect(SEQUENCE, rest)?;
        let (_subject, rest) = expect(SEQUENCE, rest)?;
        let (key, _) = expect(SEQUENCE, rest)?;
        let (algorithm, key) = expect(SEQUENCE, key)?;
        // The first byte of a bit string holds the number of unused bits at its end.
        let bytes = expect(BIT_STRING, key)?.0.get(1..)?;
        Some(Facts { version, signed_with, key: PublicKey { algorithm, bytes } })
    }

    /// Returns why the library refuses the version.
    fn of_version(&self) -> String {
        format!("is of X.509 version {}, and the TLS library reads version 3 only", self.version)
    }

    /// Returns why the library refuses the algorithm of the signature.
    fn of_signature(&self) -> String {
        format!("is signed with {}, which the TLS library does not take", algorithm_name(self.signed_with))
    }
}

impl PublicKey<'_> {
    /// Returns the number of bits of an RSA key.
    fn rsa_bits(&self) -> Option<usize> {
        if !matches!(expect(OBJECT, self.algorithm)?.0, RSA | RSA_PSS) {
            return None;
        }
        let (key, _) = expect(SEQUENCE, self.bytes)?;
        let (modulus, _) = expect(INTEGER, key)?;
        let first = modulus.iter().position(|byte| *byte != 0)?;
        Some((modulus.len() - first) * 8 - modulus[first].leading_zeros() as usize)
    }

    /// Returns why the library refuses the size of the key, if it does.
    pub fn of_size(&self) -> Option<String> {
        match self.rsa_bits()? {
            bits @ ..LEAST_RSA => {
                Some(format!("RSA key of {bits} bits: the TLS library refuses below {LEAST_RSA}"))
            }
            bits if bits > MOST_RSA => {
                Some(format!("RSA key of {bits} bits: the TLS library refuses above {MOST_RSA}"))
            }
            _ => None,
        }
    }

    /// Returns the name of the algorithm.
    pub fn name(&self) -> String {
        algorithm_name(self.algorithm)
    }
}

/// Replaces an error of the library by an error that names the reason, if the library's own text does not name it.
/// `others` are the certificates that may have signed this one.
pub(super) fn named(error: Error, certificate: &[u8], others: &[&[u8]]) -> Error {
    let (Error::InvalidCertificate(why), Some(facts)) = (&error, Facts::read(certificate)) else {
        return error;
    };
    let of_others = || others.iter().filter_map(|other| Facts::read(other)?.key.of_size()).next();
    let obstacle = match why {
        CertificateError::BadSignature => facts
            .key
            .of_size()
            .map(|size| format!("has an {size}"))
            .or_else(|| of_others().map(|size| format!("is signed with an {size}"))),
        #[expect(deprecated, reason = "older versions of the library's verifier say it without a context")]
        CertificateError::UnsupportedSignatureAlgorithm
        | CertificateError::UnsupportedSignatureAlgorithmContext { .. } => Some(facts.of_signature()),
        CertificateError::UnhandledCriticalExtension => Some(CRITICAL.to_owned()),
        CertificateError::Other(other) => match other.0.to_string().as_str() {
            "UnsupportedCertVersion" => Some(facts.of_version()),
            "UnsupportedCriticalExtension" => Some(CRITICAL.to_owned()),
            _ => None,
        },
        _ => None,
    };
    obstacle.map_or(error, |words| Obstacle(words).into())
}

const CRITICAL: &str = "has a critical extension that the TLS library does not know";

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// Returns the first element: its tag, its content, and the bytes behind it.
fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, short], rest) = input.split_first_chunk::<2>()?;
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// Returns the content of the first element, which must have this tag, and the bytes behind it.
fn expect(tag: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(input)?;
    (found == tag).then_some((content, rest))
}

/// Returns the name of an algorithm. If the algorithm has a curve as its parameter, returns the name of the curve.
fn algorithm_name(algorithm: &[u8]) -> String {
    let Some((own, rest)) = expect(OBJECT, algorithm) else {
        return "an algorithm without a name".to_owned();
    };
    let parameter = expect(OBJECT, rest).map(|(curve, _)| curve);
    let known = |name: &[u8]| NAMES.iter().find(|(bytes, _)| *bytes == name).map(|(_, name)| *name);
    parameter
        .and_then(known)
        .or_else(|| known(own))
        .map_or_else(|| format!("the algorithm {}", dotted(parameter.unwrap_or(own))), str::to_owned)
}

/// Returns an object identifier in its usual notation: 1.2.840.
fn dotted(bytes: &[u8]) -> String {
    let mut arcs: Vec<u64> = Vec::new();
    let mut arc = 0_u64;
    for byte in bytes {
        arc = arc << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            // The first two numbers are encoded as one.
            if arcs.is_empty() {
                arcs.push((arc / 40).min(2));
                arc -= 40 * arcs[0];
            }
            arcs.push(arc);
            arc = 0;
        }
    }
    arcs.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (Vec<u8>, Vec<u8>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["mx.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        (certificate.der().to_vec(), rcgen::PublicKeyData::der_bytes(&key).to_vec())
    }

    #[test]
    fn the_key_is_found_wherever_it_stands() {
        let (certificate, key) = made();
        let facts = Facts::read(&certificate).unwrap();
        assert_eq!((facts.version, facts.key.bytes, facts.key.of_size()), (3, &key[..], None));
    }

    #[test]
    fn arbitrary_bytes_give_no_certificate_and_no_panic() {
        let (certificate, _) = made();
        for end in 0..certificate.len() {
            assert_eq!(Facts::read(&certificate[..end]), None, "cut at {end}");
        }
        for at in 0..certificate.len() {
            for byte in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut broken = certificate.clone();
                broken[at] = byte;
                Facts::read(&broken)
                    .map(|facts| (facts.key.of_size(), facts.key.name(), facts.of_signature()));
            }
        }
    }

    #[test]
    fn algorithms_have_names_or_numbers() {
        assert_eq!(
            algorithm_name(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05\x05\x00"),
            "sha1WithRSAEncryption"
        );
        let curve = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x0a";
        assert_eq!(algorithm_name(curve), "an elliptic curve key on secp256k1");
        assert_eq!(algorithm_name(b"\x06\x03\x2a\x03\x04"), "the algorithm 1.2.3.4");
        assert_eq!(algorithm_name(b"\x06\x03\x88\x37\x03"), "the algorithm 2.999.3");
        assert_eq!(algorithm_name(b""), "an algorithm without a name");
    }
}
