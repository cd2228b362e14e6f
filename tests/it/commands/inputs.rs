//! Realistic input in files and in targets: it is accepted, or refused with a sentence, and no secret is printed.

use std::time::Instant;

use rcgen::generate_simple_self_signed;

use super::stage::{FEW, Stage};

/// Runs a profile of four messages with these settings of the message.
fn run(stage: &Stage, message: &str) -> (i32, String, serde_json::Value) {
    stage.put("p.toml", FEW.replace("messages = 50", "messages = 4") + message);
    let said = stage.run(&["run", "p.toml", "-q", "--json", "r.json"]);
    let result = if said.code == Some(0) { stage.json("r.json") } else { serde_json::Value::Null };
    (said.code.unwrap(), said.err, result)
}

#[test]
fn credentials_in_a_url_are_refused_and_never_printed() {
    let stage = Stage::new();
    stage.put("p.toml", FEW.replace("\"embedded\"", "\"smtp://joe:s3cret@127.0.0.1:25\""));
    stage.put("q.toml", FEW.replace("\"embedded\"", "'joe:s3cret@127.0.0.1:25'"));
    for arguments in [
        &["run", "p.toml"][..],
        &["check", "p.toml"],
        &["run", "q.toml"],
        &["run", "--target", "smtp://joe:s3cret@127.0.0.1:25", "-n", "1"],
        &["run", "--target", "joe:s3cret@127.0.0.1:25", "-n", "1"],
        &["run", "--target", "smtps://s3cret@127.0.0.1:25", "-n", "1"],
        &["run", "--target", "smtp://joe:s3cret%40127.0.0.1:25", "-n", "1"],
        &["run", "--set", "target.address=smtp://joe:s3cret@127.0.0.1:25", "-n", "1"],
        &["run", "--set", "target.address=joe:s3cret@127.0.0.1:25", "-n", "1"],
        &["trace", "smtp://joe:s3cret@127.0.0.1:25"],
        &["limit", "--target", "smtp://joe:s3cret@127.0.0.1:25", "--plan"],
        &["capacity", "--target", "lmtp://joe:s3cret@127.0.0.1:25", "--goal", "p99 < 1s"],
        &["compare", "--interleave", "2", "few.toml", "--candidate", "smtp://joe:s3cret@127.0.0.1:25"],
    ] {
        let said = stage.run(arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}: {}", said.err);
        let all = said.out + &said.err;
        assert!(!all.contains("s3cret"), "{arguments:?}: {all}");
        assert!(all.contains("credentials do not belong in a URL"), "{arguments:?}: {all}");
        assert!(all.contains("password_env"), "{arguments:?}: {all}");
    }
    let variable = [("SMTPRESS_TARGET", "smtp://joe:s3cret@127.0.0.1:25")];
    let said = stage.run_with(&variable, &["run", "-n", "1"]);
    assert!(said.code == Some(2) && !said.err.contains("s3cret"), "{}", said.err);
    // A secret in an argument that is no target.
    for arguments in [
        &["run", "smtp://joe:s3cret@h:25"][..],
        &["check", "smtp://joe:s3cret@h:25"],
        &["check", "joe:s3cret@h:25"],
        &["report", "smtp://joe:s3cret@h:25"],
        &["classify", "smtp://joe:s3cret@h:25"],
        &["listen", "--bind", "smtp://joe:s3cret@h:25"],
        &["run", "few.toml", "smtp://joe:s3cret@h:25"],
        &["run", "few.toml", "--allow-target", "smtp://joe:s3cret@h:25"],
        &["run", "few.toml", "--otlp", "http://joe:s3cret@127.0.0.1:4318"],
        &["run", "few.toml", "--dashboard", "http://joe:s3cret@127.0.0.1:4318"],
    ] {
        let said = stage.run(arguments);
        assert!(!(said.out + &said.err).contains("s3cret"), "{arguments:?}: {}", said.err);
        assert_ne!(said.code, Some(0), "{arguments:?}");
    }
}

#[test]
fn lists_folders_and_addresses_as_people_have_them() {
    let stage = Stage::new();
    stage.put(
        "list.csv",
        "\u{feff}sep=;\r\nName;E-Mail\r\n\"Doe; J\";a@x.example\r\nX;bob\r\nB;c@x.example\r\n",
    );
    std::fs::create_dir(stage.path("mail")).unwrap();
    for (name, content) in [
        ("mail/a.EML", "Subject: a\n\nlf\n"),
        ("mail/b.eml", ""),
        ("mail/c.eml", "From joe Sat Nov 28 12:00:00 2026\nSubject: c\n\n"),
        ("mail/d.eml", "Subject: d\r\n\r\nd\u{fc}\r\n"),
    ] {
        stage.put(name, content);
    }
    let message = "[message]\nto_file = \"list.csv\"\nfiles = \"mail\"\nfrom = \"<>\"\n";
    let (code, err, _) = run(&stage, message);
    assert!(code == 2 && err.contains("line 4") && err.contains("`bob` has no domain"), "{err}");
    let (code, err, result) = run(&stage, &format!("{message}on_bad_line = \"skip\"\n"));
    assert_eq!(code, 0, "{err}");
    let warnings = result["warnings"].to_string();
    assert!(warnings.contains("1 line of the list of recipients passed over: line 4: `bob`"), "{warnings}");
    assert!(
        warnings.contains(
            "2 files or folders skipped when messages were read from files: 1 empty: b.eml; 1 mboxes"
        ),
        "{warnings}"
    );
    assert_eq!(result["phases"][0]["accepted"], 4);
    let said = stage.run(&["check", "p.toml"]);
    assert!(said.out.contains("note: 1 line of the list of recipients passed over"), "{}", said.out);
    assert!(said.out.contains("1 file has bytes above 127, which MAIL does not declare"), "{}", said.out);
    assert!(said.out.contains("1 file has lines that end in LF alone"), "{}", said.out);
}

#[test]
fn what_breaks_the_grammar_goes_over_the_wire_as_it_is() {
    let stage = Stage::new();
    for address in ["a..b@x.example", "postmaster", "u@my_host"] {
        let said = stage.run(&["trace", "embedded", "--to", address]);
        assert!(said.code == Some(2) && said.err.contains("strict_addresses = false"), "{}", said.err);
        let said = stage.run(&["trace", "embedded", "--to", address, "--lax-addresses"]);
        assert!(said.out.contains(&format!("RCPT TO:<{address}>")), "{}", said.out);
    }
    let said = stage.run(&["trace", "embedded", "--to", "a@b>\r\nDATA", "--lax-addresses"]);
    assert!(said.code == Some(2) && said.err.contains("no address is sent with it"), "{}", said.err);
}

#[test]
fn smtputf8_carries_addresses_subjects_and_headers() {
    let stage = Stage::new();
    let message = "[message]\nfrom = \"j\u{f6}rg{n}@b\u{fc}cher.example\"\nsubject = \"Gr\u{fc}\u{df}e\"\n\
                   headers = [\"X-A: \u{4f8b}\"]\n[session]\nextensions = { smtputf8 = \"auto\" }\n";
    let (code, err, result) =
        run(&stage, &format!("{message}[listener]\nextensions = [\"8bitmime\", \"smtputf8\"]\n"));
    assert_eq!(code, 0, "{err}");
    assert_eq!(result["phases"][0]["accepted"], 4);
    // A listener that does not offer the extension gets no such message.
    let (code, _, _) = run(&stage, message);
    assert_eq!(code, 99);
    assert_eq!(stage.json("r.json")["phases"][0]["accepted"], 0);
}

#[test]
fn a_byte_order_mark_spoils_no_certificate_no_profile_and_no_reply() {
    let stage = Stage::new();
    let pem = |name: &str| generate_simple_self_signed(vec![name.to_owned()]).unwrap().cert.pem();
    stage.put("ca.pem", format!("\u{feff}{}\u{feff}{}", pem("a.example"), pem("b.example")));
    let profile = FEW.replace(
        "\"embedded\"",
        "\"smtp://127.0.0.1:25\"\ntls = \"starttls\"\ntls_options = { ca = \"ca.pem\" }",
    );
    let utf16: Vec<u8> = format!("\u{feff}{profile}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    stage.put("mark.toml", format!("\u{feff}{profile}"));
    stage.put("utf16.toml", utf16);
    for name in ["mark.toml", "utf16.toml"] {
        let said = stage.run(&["check", name]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert!(said.out.contains("2 authorities trusted"), "{}", said.out);
    }
    let reply = "421 4.7.0 Too many connections\r\n";
    let utf16: Vec<u8> = format!("\u{feff}{reply}").encode_utf16().flat_map(u16::to_be_bytes).collect();
    let plain = stage.feed(&["classify", "--json"], reply.as_bytes());
    for input in [format!("\u{feff}{reply}").into_bytes(), utf16] {
        assert_eq!(stage.feed(&["classify", "--json"], &input).out, plain.out);
    }
}

/// A listener that greets, reads everything and never replies.
fn stalled() -> std::net::SocketAddr {
    use std::io::Write as _;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming().take(200) {
            let Ok(mut stream) = stream else { return };
            stream.write_all(b"220 here\r\n").ok();
            open.push(stream);
        }
    });
    address
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long the program takes to end")]
fn a_load_that_outruns_the_listener_has_the_memory_that_check_states_and_ends_at_sigterm() {
    let stage = Stage::new();
    let profile = FEW.replace("\"embedded\"", &format!("\"smtp://{}\"", stalled())).replace(
        "load = \"shared-messages\"\nmessages = 50\nsessions = 2\n",
        "load = \"constant-rate\"\nrate = \"1000000/s\"\nfor = \"1h\"\nmax_sessions = 10\n[session]\nmessages = 0\n",
    );
    stage.put("p.toml", profile);
    let said = stage.run(&["check", "p.toml"]);
    let line = said.out.lines().find(|line| line.starts_with("memory")).unwrap();
    assert!(line.contains("if 1048576 arrivals wait (further ones are shed)"), "{line}");
    let stated: u64 = line.split("about ").nth(1).unwrap().split("MiB").next().unwrap().parse().unwrap();
    let running = stage.start(&["run", "p.toml", "-q", "--json", "r.json"]);
    let status = |key: &str| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", running.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    std::thread::sleep(std::time::Duration::from_secs(6));
    let peak = status("VmHWM:") / 1024;
    assert!(peak <= stated, "{peak} MiB, and {stated} were stated");
    // After the first signal, messages in progress may end within the grace period. The second signal ends the run at
    // once.
    running.signal(nix::sys::signal::Signal::SIGTERM);
    std::thread::sleep(std::time::Duration::from_millis(500));
    let began = Instant::now();
    running.signal(nix::sys::signal::Signal::SIGTERM);
    let said = running.end();
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
    assert_ne!(said.code, Some(0), "{}", said.err);
    let phase = &stage.json("r.json")["phases"][0];
    let of = |key: &str| phase[key].as_u64().unwrap();
    assert_eq!(of("accepted"), 0);
    assert_eq!(of("scheduled"), of("shed") + of("started"), "{phase}");
}

#[test]
fn plans_beyond_all_measure_are_refused_by_run_too() {
    let stage = Stage::new();
    for arguments in [
        &["-r", "1000000000/s", "-z", "60s"][..],
        &["-r", "1000000000/s", "-z", "60s", "--messages-per-session", "0"],
        &["-n", "1000000000000", "-z", "1s"],
        &["--set", "phase.0.load=burst", "--set", "phase.0.size=1000000000", "--set", "phase.0.for=1s"],
    ] {
        let run = ["run", "--target", "embedded"];
        let said = stage.run(&[&run[..], arguments].concat());
        assert_eq!(said.code, Some(2), "{arguments:?}: {}", said.err);
    }
    // A load that this machine cannot carry is refused before anything is sent.
    let arguments = ["run", "--target", "embedded", "-c", "1000", "--recipients", "1000000", "-z", "1s"];
    let said = stage.run(&arguments);
    assert!(said.code == Some(3) && said.err.contains("of memory are needed"), "{}", said.err);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long the program takes")]
fn many_phases_are_checked_in_a_time_that_grows_with_their_number() {
    let stage = Stage::new();
    let phase = "[[phase]]\nload = \"constant-rate\"\nrate = \"5/s\"\nfor = \"1s\"\n";
    let took = |phases: usize| {
        stage.put("p.toml", format!("[target]\naddress = \"embedded\"\n{}", phase.repeat(phases)));
        let began = Instant::now();
        stage.run(&["check", "p.toml"]).ended(0);
        began.elapsed()
    };
    let (few, many) = (took(2_000), took(20_000));
    // Ten times as many phases take about ten times as long. With quadratic time it would be a hundred times.
    assert!(many < few * 30, "{few:?} for 2000 phases, {many:?} for 20000");
}
