//! AUTH from the command line: the users that log in, what is refused before anything is sent, and that no secret is
//! ever shown.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::stage::{Listening, Said, Stage};

const SECRET: &str = "Tr0ub4dor and 3 more";

/// A profile of a few sessions that log in.
fn profile(auth: &str) -> String {
    format!(
        "schema = 1\nname = \"logins\"\nseed = 7\n[target]\naddress = \"embedded\"\n\
         [session]\nauth = {{ {auth} }}\n[listener]\nusers = {{ users_file = \"users.csv\" }}\nrequire_auth = true\n\
         [[phase]]\nname = \"few\"\nload = \"shared-messages\"\nmessages = 12\nsessions = 3\n"
    )
}

fn stage() -> Stage {
    let stage = Stage::new();
    stage.put("users.csv", format!("user,password\nanna,{SECRET}\nbert,{SECRET}\nload,{SECRET}\n"));
    stage.put("wrong.csv", format!("user,password\nanna,{SECRET}!\nbert,{SECRET}!\n"));
    stage.put("secret", format!("{SECRET}\n"));
    stage
}

/// The forms of the secret: in clear text, and in base64 at each of the three alignments.
fn shapes() -> Vec<String> {
    let within = (0..3).map(|before| {
        let encoded = STANDARD_NO_PAD.encode([&b"xx"[..before], SECRET.as_bytes()].concat());
        encoded[4..encoded.len() - 4].to_owned()
    });
    within.chain([SECRET.to_owned()]).collect()
}

/// Finds all files in and below a folder.
fn all(path: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all(&path, found);
        } else {
            found.push((
                path.display().to_string(),
                String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned(),
            ));
        }
    }
}

/// Checks that neither the output nor a file of the run contains the secret.
#[track_caller]
fn assert_kept(said: &Said, directory: Option<&Path>) {
    let mut texts = vec![("stdout".to_owned(), said.out.clone()), ("stderr".to_owned(), said.err.clone())];
    if let Some(directory) = directory {
        all(directory, &mut texts);
        assert!(texts.len() > 6, "the run directory was not read: {texts:?}");
    }
    for (name, text) in texts {
        for shape in shapes() {
            // A part of it is too much, too.
            let beginning = &shape[..6];
            assert!(!text.contains(beginning), "{name} holds {beginning:?}:\n{text}");
        }
    }
}

#[test]
fn each_mechanism_carries_a_run_and_nothing_that_it_leaves_holds_the_secret() {
    let stage = stage();
    for mechanism in ["plain", "login", "cram-md5", "scram-sha-256", "xoauth2", "oauthbearer"] {
        let kind = if mechanism.starts_with(['x', 'o']) { "token" } else { "password" };
        for (end, secret) in [("env", "LOAD_SECRET"), ("file", "secret")] {
            let auth = format!(
                "mechanism = \"{mechanism}\", user = \"load\", {kind}_{end} = \"{secret}\", allow_clear_text = true"
            );
            stage.put("p.toml", profile(&auth));
            let out = format!("{mechanism}-{end}");
            let said = stage
                .run_with(&[("LOAD_SECRET", SECRET)], &["run", "p.toml", "-o", &out, "--json", "-"])
                .measured();
            let ledger = &said.json()["ledger"];
            assert_eq!((&ledger["logins"], &ledger["messages"]), (&12.into(), &12.into()), "{ledger}");
            assert_eq!(ledger["logins_by_user"]["load"], 12);
            assert_kept(&said, Some(&stage.path(&out)));
            let transcripts = stage.list(&format!("{out}/transcripts"));
            let transcript = stage.read(&format!("{out}/transcripts/{}", transcripts[0]));
            // The mechanism is no secret, but its initial response is.
            let spoken = format!("C: AUTH {}", mechanism.to_uppercase());
            assert!(transcript.contains(&spoken) && transcript.contains("[redacted]\n"), "{transcript}");
            // The stored profile can repeat the run.
            let stored = stage.read(&format!("{out}/profile.toml"));
            assert!(stored.contains(&format!("{kind}_{end} = \"{secret}\"")), "{stored}");
        }
    }
}

#[test]
fn users_of_a_list_are_counted_one_by_one_and_wrong_ones_are_a_finding() {
    let stage = stage();
    let auth = "mechanism = \"scram-sha-256\", users_file = \"users.csv\", allow_clear_text = true";
    stage.put("p.toml", profile(auth));
    let ledger =
        stage.run(&["run", "p.toml", "--threads", "1", "--json", "-"]).measured().json()["ledger"].clone();
    assert_eq!(ledger["logins_by_user"], serde_json::json!({"anna": 4, "bert": 4, "load": 4}));

    let wrong =
        ["run", "p.toml", "--set", "session.auth.users_file=\"wrong.csv\"", "-o", "wrong", "--json", "-"];
    let said = stage.run(&wrong).ended(99);
    let condition = &said.json()["conditions"][0];
    assert_eq!((&condition["condition"], &condition["step"]), (&"auth-failed".into(), &"auth".into()));
    assert_eq!(said.json()["ledger"]["messages"], 0);
    assert_kept(&said, Some(&stage.path("wrong")));
}

/// A listener that repeats each line of the client in its reply, as it came and decoded from base64. `codes`: those of
/// the two lines of such a reply; without the second, the line that repeats the client's has no end, and stops in the
/// middle of its last word, and the connection closes.
fn parrot(codes: (u16, Option<u16>)) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in socket.incoming() {
            let Ok(mut stream) = stream else { return };
            stream.write_all(b"220 parrot\r\n").unwrap();
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                let Ok(line) = line else { break };
                let answer = match line.split(' ').next().unwrap() {
                    "EHLO" => "250-parrot\r\n250 AUTH PLAIN LOGIN XOAUTH2\r\n".to_owned(),
                    "QUIT" => "221 bye\r\n".to_owned(),
                    "AUTH" if line == "AUTH LOGIN" => "334 VXNlcm5hbWU6\r\n".to_owned(),
                    _ => {
                        let told = line.rsplit(' ').next().unwrap();
                        let decoded = STANDARD.decode(told).unwrap_or_default();
                        let decoded = String::from_utf8_lossy(&decoded).replace(['\0', '\x01'], "|");
                        // The user of LOGIN comes before its password.
                        if line == STANDARD.encode("anna") {
                            "334 UGFzc3dvcmQ6\r\n".to_owned()
                        } else {
                            match codes {
                                (first, Some(last)) => {
                                    format!("{first}-5.7.8 {line}?\r\n{last} 5.7.8 {decoded}!\r\n")
                                }
                                (only, None) => {
                                    let half = line.len() - told.len() / 2;
                                    format!("{only}-5.7.8 {}", &line[..half])
                                }
                            }
                        }
                    }
                };
                // In two pieces, cut within the secret.
                let (head, tail) = answer.split_at(answer.len() - answer.len().min(9));
                stream.write_all(head.as_bytes()).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(5));
                stream.write_all(tail.as_bytes()).unwrap();
                if !answer.ends_with('\n') {
                    break;
                }
            }
        }
    });
    address
}

#[test]
fn a_listener_that_repeats_the_secret_is_not_repeated() {
    let stage = stage();
    let url = format!("smtp://{}", parrot((535, Some(535))));
    let variables = [("LOAD_SECRET", SECRET)];
    for (mechanism, kind) in [("plain", "password"), ("login", "password"), ("xoauth2", "token")] {
        let flag = format!("--{kind}-env");
        let login = ["--auth", mechanism, "--user", "anna", &flag, "LOAD_SECRET", "--allow-clear-text"];
        let run = ["run", "--target", &url, "-n", "3", "-c", "1", "-o", mechanism, "--json", "-"];
        let said = stage.run_with(&variables, &[&run[..], &login].concat()).ended(99);
        let condition = &said.json()["conditions"][0];
        assert_eq!(condition["condition"], "auth-failed");
        assert!(condition["sample"].as_str().unwrap().contains("[redacted]"), "{condition}");
        assert_kept(&said, Some(&stage.path(mechanism)));
        for more in [&[][..], &["--json"]] {
            let said = stage.run_with(&variables, &[&["trace", &url][..], &login, more].concat()).ended(99);
            let spoken = format!("AUTH {}", mechanism.to_uppercase());
            assert!(said.out.contains(&spoken) && said.out.contains("[redacted]"), "{}", said.out);
            assert!(said.out.contains("5.7.8"), "{}", said.out);
            assert_kept(&said, None);
        }
    }
}

/// The replies that the client does not only count as a refused login: the initial response is sent again for some codes,
/// a reply has lines of several codes, and a line is cut off within the secret.
#[test]
fn a_listener_that_repeats_the_secret_in_other_replies_is_not_repeated_either() {
    let stage = stage();
    let variables = [("LOAD_SECRET", SECRET)];
    for (name, codes) in [
        ("unknown", (500, Some(500))),
        ("syntax", (501, Some(501))),
        ("mixed", (535, Some(454))),
        ("cut", (535, None)),
    ] {
        let url = format!("smtp://{}", parrot(codes));
        for (mechanism, kind) in [("plain", "password"), ("login", "password"), ("xoauth2", "token")] {
            let flag = format!("--{kind}-env");
            let login = ["--auth", mechanism, "--user", "anna", &flag, "LOAD_SECRET", "--allow-clear-text"];
            let out = format!("{name}-{mechanism}");
            let run = ["run", "--target", &url, "-n", "3", "-c", "1", "-o", &out, "--json", "-"];
            let said = stage.run_with(&variables, &[&run[..], &login].concat()).ended(99);
            assert_kept(&said, Some(&stage.path(&out)));
            for more in [&[][..], &["--json"]] {
                let said =
                    stage.run_with(&variables, &[&["trace", &url][..], &login, more].concat()).ended(99);
                assert!(said.out.contains("[redacted]"), "{}", said.out);
                assert_kept(&said, None);
            }
        }
    }
}

#[test]
fn a_search_for_limits_does_not_repeat_the_secret_either() {
    let stage = stage();
    let variables = [("LOAD_SECRET", SECRET)];
    for codes in [(535, Some(535)), (501, Some(501)), (535, Some(454)), (535, None)] {
        let url = format!("smtp://{}", parrot(codes));
        let login =
            ["--auth", "plain", "--user", "anna", "--password-env", "LOAD_SECRET", "--allow-clear-text"];
        let limit = ["limit", "--target", &url, "--find", "too-many-recipients", "--progress", "none"];
        let said = stage.run_with(&variables, &[&limit[..], &login].concat());
        assert!(said.code.is_some_and(|code| code != 0 && code != 2), "{}", said.err);
        assert_kept(&said, None);
    }
}

#[test]
fn a_trace_logs_in_and_shows_the_exchange_without_its_secret() {
    let stage = stage();
    let settings = ["listener.users.users_file=\"users.csv\"", "listener.require_auth=true"];
    let listener = Listening::with(&stage, &settings);
    let variables = [("LOAD_USER", "load"), ("LOAD_SECRET", SECRET)];
    let url = listener.url();
    let said = stage
        .run_with(
            &variables,
            &[
                "trace",
                &url,
                "--auth",
                "login",
                "--user-env",
                "LOAD_USER",
                "--password-env",
                "LOAD_SECRET",
                "--allow-clear-text",
            ],
        )
        .ended(0);
    assert!(said.out.contains("334 VXNlcm5hbWU6") && said.out.contains("235 #2.0.0"), "{}", said.out);
    // A challenge does not end the step.
    for (step, meaning) in [
        ("auth took", "235 authenticated"),
        ("mail took", "250 done"),
        ("quit took", "221 goodbye, closing the connection"),
    ] {
        let line =
            said.out.lines().find(|line| line.contains(step)).unwrap_or_else(|| panic!("{}", said.out));
        assert!(line.ends_with(meaning), "{}", said.out);
    }
    assert_kept(&said, None);
    let refused = stage.run(&["trace", &url]).ended(99);
    assert!(refused.out.contains("530 Authentication required"), "{}", refused.out);
    let ledger = listener.ledger();
    assert_eq!((&ledger["logins"], &ledger["messages"]), (&1.into(), &1.into()));
}

#[test]
fn what_cannot_log_in_sends_nothing_and_says_why() {
    let stage = stage();
    let refused = |auth: &str, says: &str| {
        stage.put("p.toml", profile(auth));
        let said = stage.run_with(&[("LOAD_SECRET", SECRET)], &["run", "p.toml", "-o", "never"]).ended(2);
        assert!(said.err.contains(says), "{}", said.err);
        assert_kept(&said, None);
        assert!(!stage.path("never").exists());
    };
    let clear = ", allow_clear_text = true";
    refused(
        "mechanism = \"plain\", user = \"load\", password_env = \"LOAD_SECRET\"",
        "allow_clear_text = true",
    );
    refused(
        &format!("mechanism = \"plain\", user = \"load\", password_env = \"NOT_SET\"{clear}"),
        "the environment variable `NOT_SET` is not set",
    );
    refused(
        &format!("mechanism = \"plain\", user = \"load\", password = \"{SECRET}\"{clear}"),
        "a secret does not stand in a profile",
    );
    refused(
        &format!("mechanism = \"plain\", user = \"load\", pasword = \"{SECRET}\"{clear}"),
        "unknown key `pasword`",
    );
    refused(&format!("mechanism = \"gssapi\"{clear}"), "`gssapi` is not a value of this key");
    stage.put(
        "p.toml",
        profile(&format!("mechanism = \"plain\", user = \"load\", password_file = \"secret\"{clear}")),
    );
    let helo = stage.run(&["run", "p.toml", "--hello", "helo"]).ended(2);
    assert!(helo.err.contains("a session that says HELO has none"), "{}", helo.err);
    let literal = format!("session.auth.password={SECRET}");
    let said = stage.run(&["run", "p.toml", "--set", &literal]).ended(2);
    assert_kept(&said, None);
    let said = stage.run(&["check", "p.toml", "--set", &literal]).ended(2);
    assert_kept(&said, None);
    // `listen` alone needs no secret of a client.
    stage.put("p.toml", profile("mechanism = \"plain\", user = \"load\", password_env = \"NOT_SET\""));
    stage.run(&["listen", "p.toml", "--bind", "127.0.0.1:0", "-z", "10ms"]).ended(0);
}
