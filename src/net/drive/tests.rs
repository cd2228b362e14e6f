//! The loop with a real socket whose buffers are small: bytes that the kernel takes are progress.

use std::io::Read;

use socket2::SockRef;

use super::*;
use crate::smtp::machine::{Handshake, Insecure};

/// The time-out of the machine below.
const PATIENCE: Duration = Duration::from_secs(1);

/// A machine that writes once, and times out [`PATIENCE`] after the last progress.
struct Writing {
    bytes: Vec<u8>,
    alive: Instant,
    written: bool,
    timed_out: bool,
}

impl Machine for Writing {
    type Event = ();

    fn handle_input(&mut self, _: Instant, bytes: &[u8]) -> usize {
        bytes.len()
    }
    fn handle_written(&mut self, _: Instant) {
        self.written = true;
    }
    fn handle_progress(&mut self, now: Instant) {
        self.alive = now;
    }
    fn handle_secured(&mut self, _: Instant, _: Handshake) {}
    fn handle_insecure(&mut self, _: Instant, _: Insecure) {}
    fn handle_timeout(&mut self, _: Instant) {
        self.timed_out = true;
    }
    fn handle_closed(&mut self, _: Instant, _: Closed) {}
    fn poll(&mut self, _: Instant, out: &mut Vec<u8>) -> Need<()> {
        if !self.bytes.is_empty() {
            out.append(&mut self.bytes);
            return Need::Write;
        }
        match self.written || self.timed_out {
            true => Need::Close(Close::Reset),
            false => Need::Read { until: Some(self.alive + PATIENCE) },
        }
    }
}

struct Owner;

impl MachineOwner<Writing> for Owner {
    fn event(&mut self, _: &mut Writing, _: Instant, (): ()) {}
}

/// Writes much more than the kernel's buffers hold to a listener that reads `reads` pieces, with a pause after each. Returns
/// whether the kernel took all of it, whether the machine timed out, and how long it took.
async fn written(reads: usize) -> (bool, bool, Duration) {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    SockRef::from(&socket).set_recv_buffer_size(4096).unwrap();
    let place = socket.local_addr().unwrap();
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = socket.accept().unwrap();
        let mut piece = vec![0; 32 * 1024];
        for _ in 0..reads {
            // At the end the machine closes, and there is nothing more to read.
            if stream.read(&mut piece).unwrap_or(0) == 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        stream
    });
    let stream = tokio::net::TcpStream::connect(place).await.unwrap();
    SockRef::from(&stream).set_send_buffer_size(4096).unwrap();
    let start = now();
    let bytes = vec![b'x'; 1 << 20];
    let mut machine = Writing { bytes, alive: start, written: false, timed_out: false };
    let (mut stream, _) = Stream::tcp(stream);
    drive(&mut stream, &mut machine, &mut Owner, &Scratch::new()).await;
    let took = now() - start;
    drop(stream);
    drop(reader.join().unwrap());
    (machine.written, machine.timed_out, took)
}

#[tokio::test]
async fn bytes_that_the_kernel_takes_are_progress_and_a_listener_that_reads_nothing_gives_none() {
    let (whole, timed_out, took) = written(usize::MAX).await;
    assert!(whole && !timed_out, "{took:?}");
    assert!(took > PATIENCE, "the listener is so slow that the time-out counts: {took:?}");
    let (whole, timed_out, _) = written(3).await;
    assert!(!whole && timed_out);
}
