//! `[target]`: where the load goes.

use crate::net::address::tls::Version;
use crate::profile::table::{tables, words};
use crate::smtp::script::TlsMode;

words! {
    /// Whether the PROXY protocol carries the source address.
    enum Proxy {
        /// No header.
        None = "none",
        /// The text header.
        V1 = "v1",
        /// The binary header.
        V2 = "v2",
    }
    /// Whether and how TLS is used.
    for TlsMode {
        /// Clear text.
        None = "none",
        /// STARTTLS (RFC 3207).
        Starttls = "starttls",
        /// TLS from the first byte (RFC 8314).
        Implicit = "implicit",
    }
    /// A version of TLS.
    for Version {
        /// TLS 1.2 (RFC 5246).
        Tls12 = "1.2",
        /// TLS 1.3 (RFC 8446).
        Tls13 = "1.3",
    }
}

tables! {
    /// Where the load goes.
    Target {
        /// `smtp://host:port`, `smtps://host:port`, `lmtp://host:port`, `smtp+unix:path`, `lmtp+unix:path`, or `embedded`
        /// for the listener inside the process. Of a name with several addresses a session goes to the first that answers;
        /// the load is not spread over them. Needed.
        address: String, flag "--target";
        /// Whether the sessions are encrypted, and how. Default none; `smtps://`: implicit.
        tls: TlsMode, flag "--tls";
        /// Client addresses, used in turn by session: addresses, ranges `a-b`, blocks `a/n`. They are bound, or with
        /// `proxy` or `xclient` carried instead.
        sources: Vec<String>, or Vec::new();
        /// Whether a PROXY protocol header carries the client address (one of `sources`, or our own).
        proxy: Proxy = Proxy::None;
        /// XCLIENT tells the listener the client address (one of `sources`); it must offer XCLIENT to us.
        xclient: bool = false;
        /// Hosts beyond loopback that may be loaded, with their owner's consent: the same as `--allow-target`. Default none.
        allow: Vec<String>, or Vec::new();
        /// Details of TLS.
        tls_options: TlsOptions, or TlsOptions::default();
    }
    /// Details of TLS. Files are in PEM, named from the directory in which smtpress is started.
    TlsOptions {
        /// A file of certificates to trust. Absent: the authorities that the system trusts; for the embedded listener its
        /// own certificate.
        ca: String;
        /// Whether a certificate that is not trusted, or has another name, ends the session. If false, the session goes on
        /// and the report says what is wrong with the certificate.
        verify: bool, or true;
        /// The server name to ask for and to find in the certificate. Default: the target's host.
        sni: String;
        /// A file with our certificate, and with those that lead to its authority.
        client_cert: String;
        /// A file with its key, not encrypted.
        client_key: String;
        /// The oldest version that is spoken.
        min_version: Version, or Version::Tls12;
        /// Whether the sessions of a thread resume those before them.
        resumption: bool, or true;
    }
}
