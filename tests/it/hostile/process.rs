//! The whole program with a hostile listener: its memory, its exit code and its output.

use smtpress::smtp::Step;

use super::server::{Act, Server, say, until};
use crate::commands::stage::Stage;

/// The most memory a run of one session may take, in bytes.
const MOST: u64 = 64 << 20;

/// Runs the program against a listener that follows this script. Checks that nothing is accepted, and that the replies
/// are printed with escapes.
fn run(name: &str, script: Vec<Act>, more: &[&str]) {
    let stage = Stage::new();
    let server = Server::start(script, true);
    let url = format!("smtp://{}", server.addr);
    let arguments =
        [&["run", "--target", &url, "-n", "1", "-c", "1", "-o", "r", "--progress", "none"], more].concat();
    let said = stage.run(&arguments);
    // On a busy machine the load threads may be late. This test does not check their times.
    assert!(matches!(said.code, Some(98 | 99)), "{}\n{}", said.out, said.err);
    server.stop();
    let result = stage.json("r/result.json");
    let peak = result["generator"]["peak_rss_bytes"].as_u64().unwrap();
    assert!((1 << 20..MOST).contains(&peak), "{name}: {peak} bytes");
    let phase = &result["phases"][0];
    assert_eq!((&phase["scheduled"], &phase["accepted"]), (&1.into(), &0.into()), "{name}: {phase}");
    let transcripts =
        stage.list("r/transcripts").into_iter().map(|file| stage.read(&format!("r/transcripts/{file}")));
    for text in [said.out, said.err, stage.read("r/failures.jsonl"), stage.read("r/result.json")]
        .into_iter()
        .chain(transcripts)
    {
        let obeyed = |c: char| c.is_control() && c != '\n' || matches!(c, '\u{202a}'..='\u{202e}');
        assert!(!text.contains(obeyed), "{name}: {text:?}");
    }
}

#[test]
fn no_listener_takes_much_memory_or_the_terminal() {
    for text in ["250 and so on and so on ", "250-more\r\n", "\0", "220\r"] {
        run(&format!("no end of {text:?}"), vec![Act::Flood(text)], &[]);
    }
    let deaf = [until(Step::Data), vec![say("354 go\r\n"), Act::Deaf]].concat();
    run("a window closed for ever", deaf, &["--size", "1GiB", "--set", "timeouts.body=1s"]);
    // TLS keeps bytes that it cannot decrypt yet, and this buffer is bounded too.
    let secure = |script: Vec<Act>| [vec![Act::Secure], script].concat();
    for (name, script) in [
        ("no end of a handshake", vec![Act::PartOfHandshake(usize::MAX), Act::Flood("\x16\x03\x03\x40\0")]),
        ("no end of clear text", vec![Act::Peek, Act::Flood("and so on ")]),
        ("no end of a line in TLS", secure(vec![Act::Flood("250 and so on and so on ")])),
        ("no end of a reply in TLS", secure(vec![Act::Flood("250-more\r\n")])),
        ("no end of new keys", secure(vec![Act::Rekey])),
    ] {
        run(name, script, &["--tls", "implicit", "--set", "target.tls_options.verify=false"]);
    }
    let owned = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}gnihton\u{8}\0\r";
    let text = format!("554-5.7.1 {owned}\r\n554 5.7.1 {owned}{}\r\n", "long ".repeat(700));
    for step in [Step::Greeting, Step::Hello, Step::Mail, Step::Rcpt, Step::Data, Step::Body] {
        run(
            &format!("{step}: a reply for the terminal"),
            [until(step), vec![say(&text), Act::Polite]].concat(),
            &[],
        );
        let nonsense = [until(step), vec![say(&format!("{owned}\r\n")), Act::Polite]].concat();
        run(&format!("{step}: no reply, but for the terminal"), nonsense, &[]);
    }
}
