//! The client's machine as a whole: any bytes, closes, silences and calls of its owner, under the laws of the seam.

#![no_main]

#[path = "../../it/virtual_wire.rs"]
#[expect(dead_code, reason = "the integration tests use more of it")]
mod virtual_wire;

use std::rc::Rc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use smtpress::smtp::auth::{Login, Mechanism, Secret};
use smtpress::smtp::machine::{Closed, Insecure};
use smtpress::smtp::script::{Hello, SessionIdentity, Pipelining, Quit, Script, TlsMode};
use virtual_wire::{Mail, Owner, Wire};

fuzz_target!(|bytes: &[u8]| {
    let [choice, more, moves @ ..] = bytes else { return };
    let script = Script {
        hello: if choice & 1 == 0 { Hello::Ehlo } else { Hello::Helo },
        name: "client.test".into(),
        pipelining: [Pipelining::Off, Pipelining::Auto, Pipelining::Full, Pipelining::Require]
            [usize::from(choice >> 1 & 3)],
        quit: [Quit::Clean, Quit::Clean, Quit::Close, Quit::Reset][usize::from(choice >> 3 & 3)],
        tls: [TlsMode::None, TlsMode::None, TlsMode::Starttls, TlsMode::Implicit][usize::from(choice >> 5 & 3)],
        clear_text_login: true,
        ..Script::default()
    };
    // A kernel that takes nothing of STARTTLS would have the wire hold what the drive goes on with.
    let may_hold = script.tls != TlsMode::Starttls;
    let mail = |number| Mail { number, recipients: number, pieces: 1 + u64::from(more & 1), lost_from: None };
    let mechanism = Mechanism::ALL.get(usize::from(more >> 1 & 15));
    let identity = SessionIdentity {
        login: mechanism.map(|mechanism| Login::new(*mechanism, "u", Secret::new("p"))),
        xclient: (more & 32 != 0).then(|| "ADDR=192.0.2.1".to_owned()),
    };
    let (declines, rests) = (more & 64 != 0, more & 128 != 0);
    let owner = Owner { mails: (1..4).map(mail).collect(), declines, rests, leaves: false };
    let mut wire = Wire::speaking_as(Rc::new(script), identity, owner);
    let mut moves = moves;
    while let [next, rest @ ..] = moves
        && wire.closed.is_none()
    {
        moves = rest;
        match next {
            // Most bytes are the listener's.
            b'\x00' => wire.pass(Duration::from_secs(60)),
            b'\x01' => wire.pass(Duration::from_secs(4000)),
            b'\x02' => wire.holds = may_hold,
            b'\x03' => {
                wire.holds = false;
                wire.written();
                wire.settle();
            }
            b'\x04' => wire.close(Closed::Eof),
            b'\x05' => wire.close(Closed::Reset),
            b'\x06' => {
                wire.client.abort(wire.now);
                wire.settle();
            }
            b'\x07' => {
                wire.client.finish();
                wire.settle();
            }
            b'\x08' if wire.secures => wire.secured(None),
            b'\x0e' if wire.secures => wire.secured(Some(Insecure::ClearText(b"421 no\r\n".to_vec()))),
            _ => {
                // Up to the next move of another kind, in one read.
                let length = 1 + moves.iter().take_while(|byte| !matches!(byte, 0..=8 | 14)).count();
                let start = bytes.len() - moves.len() - 1;
                wire.receive(&bytes[start..start + length]);
                moves = &bytes[start + length..];
            }
        }
    }
    wire.holds = false;
    wire.written();
    wire.settle();
    wire.pass(Duration::from_secs(3 * 3600));
    if wire.secures && wire.closed.is_none() {
        wire.close(Closed::Eof);
    }
    assert!(wire.closed.is_some(), "a session that never ends");
});
