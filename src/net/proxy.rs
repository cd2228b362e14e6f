//! The PROXY protocol's header (version 1 and 2): the client writes it before a session, and a listener behind a
//! balancer reads it.
//!
//! The crate `proxy_header` encodes and decodes the header. This module determines how many bytes of a stream belong to
//! the header.
//!
//! # Decisions
//! - The reader takes no byte beyond the header, because a TLS record may follow.
//! - A header of version 2 states the TLS version between client and balancer. smtpress has no such client, so the
//!   version is fixed. It is not the version on which smtpress and the listener agree: only the handshake after the
//!   header decides that.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use proxy_header::{ParseConfig, Protocol, ProxiedAddress, ProxyHeader, SslInfo, Tlv};

use super::address::origin::ProxyVersion;
use super::stream::Stream;

/// The first bytes of a version 2 header.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The first bytes of a version 1 header.
const WORD: &[u8] = b"PROXY ";
/// The longest header of version 1, with its CRLF.
const MAX_LINE: usize = 107;
/// The longest accepted header of version 2, with its addresses and TLVs with certificate names. The length field
/// allows 64 KiB, which no real balancer sends, but any client could make the listener hold that much memory.
const MAX_BINARY: usize = 4096;

/// The TLS version that the header states for the client. The specification requires one wherever the client uses TLS
/// (2.2.6).
const CLIENT_TLS: &str = "TLSv1.3";

/// Returns the header of a session from `source` to `destination`. `tls` states that the client uses TLS, which only
/// version 2 can carry.
///
/// # Errors
/// The addresses are of different families.
pub fn header(
    version: ProxyVersion,
    source: SocketAddr,
    destination: SocketAddr,
    tls: bool,
) -> io::Result<Vec<u8>> {
    let addresses = ProxiedAddress::stream(source, destination);
    let ssl = (tls && version == ProxyVersion::V2).then(|| {
        // No client certificate was verified.
        let mut ssl = SslInfo::new(true, false, false, 1);
        ssl.append_tlv(Tlv::SslVersion(CLIENT_TLS.into()));
        Tlv::Ssl(ssl)
    });
    let header = ProxyHeader::with_tlvs(Some(addresses), ssl);
    let mut bytes = vec![0; 256];
    let written = match version {
        ProxyVersion::V1 => header.encode_to_slice_v1(&mut bytes),
        ProxyVersion::V2 => header.encode_to_slice_v2(&mut bytes),
    };
    bytes.truncate(written.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?);
    Ok(bytes)
}

/// Returns a header in words that fit on one line: the line itself, or the content of a binary header.
pub fn in_words(header: &[u8]) -> String {
    if header.starts_with(WORD) {
        return String::from_utf8_lossy(header).trim_end().to_owned();
    }
    let config = ParseConfig { include_tlvs: true, ..ParseConfig::default() };
    let said = ProxyHeader::parse(header, config).ok().and_then(|(header, _)| {
        let address = header.proxied_address()?;
        let tls = header.ssl().and_then(|ssl| ssl.version().map(|version| format!(", {version}")));
        Some(format!(": from {} to {}{}", address.source, address.destination, tls.unwrap_or_default()))
    });
    format!("[PROXY version 2, {} bytes{}]", header.len(), said.unwrap_or_default())
}

/// Reads the header that a connection must begin with. Returns `None` if the header carries no address (a health check,
/// or a client whose protocol the balancer does not know). Then the client's address is the address of the connection.
///
/// # Errors
/// The header is missing or malformed, or did not come within `timeout`.
pub async fn read(stream: &mut Stream, timeout: Duration) -> io::Result<Option<IpAddr>> {
    let whole = tokio::time::timeout(timeout, whole(stream)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let (header, length) = ProxyHeader::parse(&whole, ParseConfig::default()).map_err(|_| malformed())?;
    match header.proxied_address() {
        _ if length != whole.len() => Err(malformed()),
        None => Ok(None),
        Some(address) if address.protocol == Protocol::Stream => Ok(Some(address.source.ip().to_canonical())),
        Some(_) => Err(malformed()),
    }
}

/// Reads the bytes of the header, and no more.
async fn whole(stream: &mut Stream) -> io::Result<Vec<u8>> {
    // No header of either version is shorter than this.
    let mut header = vec![0; SIGNATURE.len()];
    fill(stream, &mut header).await?;
    if header == SIGNATURE {
        header.resize(16, 0);
        fill(stream, &mut header[12..]).await?;
        let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if length > MAX_BINARY {
            return Err(io::ErrorKind::InvalidData.into());
        }
        header.resize(16 + length, 0);
        fill(stream, &mut header[16..]).await?;
        return Ok(header);
    }
    if !header.starts_with(WORD) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    while !header.ends_with(b"\n") {
        if header.len() >= MAX_LINE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // The line is read byte by byte: the bytes behind the line belong to the session.
        let at = header.len();
        header.push(0);
        fill(stream, &mut header[at..]).await?;
    }
    Ok(header)
}

async fn fill(stream: &mut Stream, mut part: &mut [u8]) -> io::Result<()> {
    while !part.is_empty() {
        let taken = std::future::poll_fn(|cx| {
            let mut buffer = tokio::io::ReadBuf::new(part);
            stream.poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len())
        })
        .await?;
        if taken == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        part = &mut part[taken..];
    }
    Ok(())
}

#[cfg(test)]
mod tests;
