//! `[target]`: the listener under test.

use crate::net::address::tls::Version;
use crate::profile::table::{Word, tables, words};
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
        /// No TLS.
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
        /// `smtp://host:port`, `smtps://host:port`, `lmtp://host:port`, `smtp+unix:path`, `lmtp+unix:path`, or
        /// `embedded` for the listener inside the process. If a name has several addresses a session uses the first
        /// that answers; the load is not distributed over them. Needed.
        address: String, flag "--target";
        /// Whether the sessions are encrypted, and how. Default none; `smtps://`: implicit.
        tls: Word<TlsMode>, flag "--tls";
        /// Client addresses, used in turn by session: addresses, ranges `a-b`, blocks `a/n`. They are bound, or
        /// announced by `proxy` or `xclient`.
        sources: Vec<String>, or Vec::new();
        /// Whether a PROXY protocol header carries the client address (one of `sources`, or the real one).
        proxy: Proxy = Proxy::None;
        /// Whether XCLIENT announces the client address (one of `sources`) to the listener, which must offer XCLIENT.
        xclient: bool = false;
        /// Hosts beyond loopback that may be loaded, with their owner's consent: the same as `--allow-target`. Default none.
        allow: Vec<String>, or Vec::new();
        /// Details of TLS.
        tls_options: TlsOptions, or TlsOptions::default();
    }
    /// Details of TLS. Files are in PEM; paths are relative to the directory in which smtpress is started.
    TlsOptions {
        /// A file of certificates to trust. Absent: the authorities of the system; for the embedded listener its own
        /// certificate.
        ca: String;
        /// Whether a certificate that is not trusted, or has another name, ends the session. If false, the session
        /// continues and the report says what is wrong with the certificate.
        verify: bool, or true;
        /// The server name for SNI and for the check of the certificate. Default: the target's host.
        sni: String;
        /// A file with the client's certificate and its chain.
        client_cert: String;
        /// A file with its key, not encrypted.
        client_key: String;
        /// The lowest version of TLS.
        min_version: Word<Version>, or Word(Version::Tls12);
        /// Whether sessions resume earlier TLS sessions of their thread.
        resumption: bool, or true;
    }
}
