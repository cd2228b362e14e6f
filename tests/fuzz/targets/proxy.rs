//! The PROXY header: any bytes are a header or none, and not one byte beyond the header is taken.

#![no_main]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use smtpress::net::proxy;
use smtpress::net::stream::Stream;
use tokio::runtime::Runtime;

/// What follows a header.
const REST: &[u8] = b"EHLO x\r\n";

fuzz_target!(|bytes: &[u8]| {
    thread_local! {
        static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
        });
    }
    if bytes.len() > 8000 {
        return;
    }
    let (mut client, server) = UnixStream::pair().expect("two sockets");
    server.set_nonblocking(true).expect("a socket");
    client.write_all(&[bytes, REST].concat()).expect("room for all of it");
    client.shutdown(std::net::Shutdown::Write).expect("a socket");
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let taken = server.try_clone().expect("a descriptor");
            let mut stream = Stream::Unix(tokio::net::UnixStream::from_std(server).expect("a socket"));
            let read = proxy::read(&mut stream, Duration::from_secs(60)).await;
            let mut rest = Vec::new();
            (&taken).read_to_end(&mut rest).expect("what is left, up to the end");
            let header = bytes.len() + REST.len() - rest.len();
            if read.is_ok() {
                let whole = [bytes, REST].concat();
                let header = &whole[..header];
                assert!(header.starts_with(b"PROXY ") && header.ends_with(b"\n") || header.len() >= 16);
            }
            assert!(header <= 16 + 4096);
        });
    });
});
