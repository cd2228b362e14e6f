//! Every command opens its sessions in the same way: the parameters of MAIL and RCPT, the hello, the PROXY header and
//! the name of a failure to connect depend on the profile, and not on the command.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::stage::Stage;

/// Records what clients send: the commands of each session, or its first bytes.
struct Recorder {
    address: SocketAddr,
    sessions: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Recorder {
    /// Answers each session with `serve`, which returns the bytes to record.
    fn start(serve: fn(TcpStream) -> std::io::Result<Vec<u8>>) -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sessions = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let recorded = sessions.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let recorded = recorded.clone();
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                    if let Ok(session) = serve(stream) {
                        recorded.lock().unwrap().push(session);
                    }
                });
            }
        });
        Recorder { address, sessions }
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address)
    }

    /// Returns what was recorded since the last call.
    fn take(&self) -> Vec<Vec<u8>> {
        // A command may end before its last session is recorded.
        for _ in 0..100 {
            if !self.sessions.lock().unwrap().is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        std::mem::take(&mut *self.sessions.lock().unwrap())
    }

    /// The lines that were recorded since the last call and begin with one of these words.
    fn lines(&self, words: &[&str]) -> Vec<String> {
        let sessions = self.take();
        let lines = sessions.iter().flat_map(|session| session.split(|byte| *byte == b'\n'));
        lines
            .map(|line| String::from_utf8_lossy(line).trim_end().to_owned())
            .filter(|line| words.iter().any(|word| line.starts_with(word)))
            .collect()
    }
}

/// Accepts everything; offers extensions to EHLO.
fn dialogue(stream: TcpStream) -> std::io::Result<Vec<u8>> {
    let mut out = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    let (mut all, mut is_content) = (Vec::new(), false);
    out.write_all(b"220 mx.test\r\n")?;
    loop {
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(all);
        }
        if is_content {
            is_content = line != b".\r\n";
            if !is_content {
                out.write_all(b"250 taken\r\n")?;
            }
            continue;
        }
        all.extend_from_slice(&line);
        let verb = String::from_utf8_lossy(&line[..line.len().min(4)]).to_ascii_uppercase();
        is_content = verb == "DATA";
        out.write_all(match verb.as_str() {
            "EHLO" => b"250-mx.test\r\n250-SMTPUTF8\r\n250-8BITMIME\r\n250 DSN\r\n",
            "DATA" => b"354 go on\r\n",
            "QUIT" => b"221 bye\r\n",
            _ => b"250 ok\r\n",
        })?;
        if verb == "QUIT" {
            return Ok(all);
        }
    }
}

/// Reads the first bytes and closes.
fn first_bytes(mut stream: TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4096];
    let read = stream.read(&mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// A stage with a profile of three messages to `url`, with these settings.
fn stage(url: &str, settings: &str) -> Stage {
    let stage = Stage::new();
    // With a stored ceiling the generator is not measured first.
    std::fs::create_dir_all(stage.path("state/smtpress")).unwrap();
    stage.put("state/smtpress/selftest.json", "{\"ceiling\": {\"rate_per_s\": 1000000.0}}");
    let profile = |load: &str| {
        format!(
            "schema = 1\nname = \"p\"\nseed = 7\n[target]\naddress = \"{url}\"\n\
             allow = [\"255.255.255.255\", \"no-such-host.invalid\"]\n{settings}\n{load}\n"
        )
    };
    let load = "[[phase]]\nname = \"few\"\nload = \"shared-messages\"\nmessages = 3\nsessions = 1";
    stage.put("p.toml", profile(load));
    let search =
        "[capacity]\ntrial = \"1s\"\nconfirm = \"1s\"\nwarmup = \"0s\"\nstart = \"5/s\"\nmax = \"5/s\"";
    stage.put("capacity.toml", profile(search));
    stage
}

/// Runs each command against `url`, and calls `check` with the command's name and its output.
fn each_command(stage: &Stage, url: &str, limits: &str, trace: &[&str], check: impl Fn(&str, &str)) {
    let state = stage.path("state").display().to_string();
    let traced = [&["trace", url, "--timeout", "3s"][..], trace].concat();
    for arguments in [
        &["run", "p.toml", "-q"][..],
        &["limit", "p.toml", "--find", limits, "--timeout", "3s", "-q"],
        &["capacity", "capacity.toml", "--goal", "p50 < 10s", "-q"],
        &["compare", "--interleave", "2", "p.toml", "--candidate", url, "--cooldown", "0s", "--force"],
        &traced,
    ] {
        let said = stage.run_with(&[("XDG_STATE_HOME", &state)], arguments);
        check(arguments[0], &format!("{}{}", said.out, said.err));
    }
}

#[test]
fn every_command_sends_the_parameters_that_the_profile_asks_for() {
    let recorder = Recorder::start(dialogue);
    let url = recorder.url("smtp");
    let stage = stage(&url, "[session.extensions]\nsmtputf8 = \"require\"\n8bitmime = \"auto\"");
    let limits = "rule.mail-twice,rule.pipelining,rule.rcpt-before-mail,too-many-recipients,bare-cr-lf.lf-dot-lf,\
                  message-size-exceeded.content,line-too-long.path,idle-timeout.mail";
    each_command(&stage, &url, limits, &["--smtputf8"], |command, said| {
        let lines = recorder.lines(&["MAIL FROM:"]);
        assert!(lines.len() > usize::from(command != "trace"), "{command}: {said}");
        for line in lines {
            assert!(line.contains("> ") && line.contains(" SMTPUTF8"), "{command}: {line}");
            assert!(command == "trace" || line.contains(" BODY=8BITMIME"), "{command}: {line}");
        }
    });
}

#[test]
fn every_command_says_the_hello_that_the_profile_asks_for() {
    let recorder = Recorder::start(dialogue);
    let url = recorder.url("smtp");
    let stage = stage(&url, "[session]\nhello = \"helo\"\npipelining = \"off\"");
    let limits = "rule.hello-without-name,rule.hello-too-long,rule.mail-twice";
    each_command(&stage, &url, limits, &["--helo"], |command, said| {
        let lines = recorder.lines(&["HELO", "EHLO"]);
        assert!(!lines.is_empty(), "{command}: {said}");
        assert!(lines.iter().all(|line| line.starts_with("HELO")), "{command}: {lines:?}");
    });
}

#[test]
fn every_command_states_tls_in_a_proxy_header_of_version_2() {
    let recorder = Recorder::start(first_bytes);
    let url = recorder.url("smtps");
    let stage = stage(&url, "proxy = \"v2\"\ntls_options = { verify = false }");
    each_command(&stage, &url, "rule.mail-twice", &["--proxy", "v2", "--no-verify"], |command, said| {
        let sessions = recorder.take();
        assert!(!sessions.is_empty(), "{command}: {said}");
        for session in sessions {
            assert!(session.starts_with(b"\r\n\r\n\0\r\nQUIT\n"), "{command}: {session:?}");
            // PP2_TYPE_SSL, its length, PP2_CLIENT_SSL, no certificate; then the version.
            let tls = b"\x20\x00\x0f\x01\x00\x00\x00\x01\x21\x00\x07TLSv1.3";
            assert!(session[28..].starts_with(tls), "{command}: {session:?}");
        }
    });
}

#[test]
fn every_command_names_a_failure_to_connect_alike() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, condition) in [
        (format!("smtp://{closed}"), "connect-refused"),
        ("smtp://255.255.255.255:25".to_owned(), "host-unreachable"),
        ("smtp://no-such-host.invalid:25".to_owned(), "name-not-resolved"),
    ] {
        let stage = stage(&url, "");
        let allow = ["--allow-target", "255.255.255.255", "--allow-target", "no-such-host.invalid"];
        each_command(&stage, &url, "rule.mail-twice", &allow, |command, said| {
            assert!(said.contains(condition), "{command} {url}: {said}");
        });
    }
}
