//! Tests of `proxy`.

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::*;

/// Returns what a listener reads from `bytes`, sent in two parts, and the bytes that are left for the session.
async fn read_of(bytes: &[u8], cut: usize) -> (io::Result<Option<IpAddr>>, Vec<u8>) {
    let (mut client, server) = UnixStream::pair().unwrap();
    let mut server = Stream::Unix(server);
    let send = async {
        client.write_all(&bytes[..cut]).await.unwrap();
        tokio::task::yield_now().await;
        // The listener may have closed the stream already.
        drop(client.write_all(&bytes[cut..]).await);
        drop(client.shutdown().await);
    };
    let (read, ()) = tokio::join!(read(&mut server, Duration::from_secs(30)), send);
    let mut rest = Vec::new();
    let mut byte = [0];
    while fill(&mut server, &mut byte).await.is_ok() {
        rest.push(byte[0]);
    }
    (read, rest)
}

#[tokio::test]
async fn what_is_written_is_read_to_its_end_and_no_further() {
    let of = |text: &str| -> SocketAddr { text.parse().unwrap() };
    for (source, destination) in [("127.0.3.7:4000", "127.0.0.1:25"), ("[2001:db8::7]:1", "[::1]:65535")] {
        for (version, tls) in [(ProxyVersion::V1, false), (ProxyVersion::V2, false), (ProxyVersion::V2, true)]
        {
            let mut bytes = header(version, of(source), of(destination), tls).unwrap();
            bytes.extend_from_slice(b"EHLO x\r\n");
            for cut in 0..bytes.len() {
                let (read, rest) = read_of(&bytes, cut).await;
                assert_eq!(read.unwrap(), Some(of(source).ip()), "{version:?} cut at {cut}");
                assert_eq!(rest, b"EHLO x\r\n");
            }
        }
    }
    assert!(header(ProxyVersion::V1, of("127.0.0.1:1"), of("[::1]:1"), false).is_err());
}

#[test]
fn version_1_is_text_and_version_2_tells_of_tls() {
    let of = |text: &str| -> SocketAddr { text.parse().unwrap() };
    let make = |version, tls| header(version, of("127.0.3.7:4000"), of("127.0.0.1:25"), tls).unwrap();
    assert_eq!(make(ProxyVersion::V1, true), b"PROXY TCP4 127.0.3.7 127.0.0.1 4000 25\r\n");
    let bytes = make(ProxyVersion::V2, true);
    let config = ParseConfig { include_tlvs: true, ..ParseConfig::default() };
    let (read, _) = ProxyHeader::parse(&bytes, config).unwrap();
    let ssl = read.ssl().unwrap();
    assert_eq!((ssl.client_ssl(), ssl.verify(), ssl.version()), (true, 1, Some("TLSv1.3")));
    assert!(make(ProxyVersion::V2, false).len() < bytes.len());
}

#[test]
fn a_header_is_shown_in_words() {
    let of = |text: &str| -> SocketAddr { text.parse().unwrap() };
    let shown =
        |version, tls| in_words(&header(version, of("127.0.3.7:4000"), of("127.0.0.1:25"), tls).unwrap());
    assert_eq!(shown(ProxyVersion::V1, false), "PROXY TCP4 127.0.3.7 127.0.0.1 4000 25");
    let clear = "[PROXY version 2, 28 bytes: from 127.0.3.7:4000 to 127.0.0.1:25]";
    assert_eq!(shown(ProxyVersion::V2, false), clear);
    let secure = shown(ProxyVersion::V2, true);
    assert!(secure.ends_with("from 127.0.3.7:4000 to 127.0.0.1:25, TLSv1.3]"), "{secure}");
}

#[tokio::test]
async fn what_carries_no_address_and_what_is_malformed() {
    for bytes in
        [&b"PROXY UNKNOWN\r\n"[..], b"PROXY UNKNOWN ff::1 ff::2 1 2\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"]
    {
        assert_eq!(read_of(bytes, 3).await.0.unwrap(), None);
    }
    for bytes in [
        &b"EHLO load.example\r\n"[..],
        b"PROXYxTCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
        b"PROXY TCP9 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY UNKNOWN\n",
        b"PROXY TCP4 1.2.3.4",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\x01\x02\x03\x04\x01\x02\x03\x04\0\x01\0\x02",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04\x01\x02\x03\x04",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\x01\x02\x03\x04\x01\x02\x03\x04\0\x01\0\x02",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff\x01\x02",
        b"",
    ] {
        assert!(read_of(bytes, 0).await.0.is_err(), "{bytes:?}");
    }
    let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200], b"\r\n".to_vec()].concat();
    assert_eq!(read_of(&long, 0).await.0.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_not_waited_for() {
    let (_client, server) = UnixStream::pair().unwrap();
    let read = read(&mut Stream::Unix(server), Duration::from_millis(5)).await;
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
}
