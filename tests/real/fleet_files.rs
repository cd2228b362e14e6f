//! A profile with message files on a fleet: agents get the files from the coordinator, and open none on their machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nkeys::KeyPair;
use tempfile::TempDir;

use crate::fleet::{Ended, Fleet, number};
use crate::fleet_access::smtpress;
use crate::fleet_messages::OpenServer;
use crate::fleet_union::measured;
use crate::listener::{self, Processes, wait_until};

/// A profile with lists, a text or a corpus, in its own folder.
struct Written {
    folder: TempDir,
    profile: PathBuf,
}

/// The message table of a profile, with these files beside it.
fn written(message: &str, files: &[(&str, Vec<u8>)]) -> Written {
    let folder = listener::folder();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let profile = folder.path().join("profile.toml");
    let text = format!(
        "schema = 1\nname = \"files\"\nseed = 5\n[target]\naddress = \"embedded\"\n[message]\n{message}\n\
         [[phase]]\nname = \"load\"\nload = \"shared-messages\"\nmessages = 90\nsessions = 6\n"
    );
    fs::write(&profile, text).unwrap();
    Written { folder, profile }
}

/// A corpus of messages of different sizes. The first one is larger than the largest NATS message.
fn corpus() -> Vec<(&'static str, Vec<u8>)> {
    let message = |subject: &str, lines: usize| {
        format!("Subject: {subject}\r\n\r\n{}", format!("{subject} has this line\r\n").repeat(lines))
            .into_bytes()
    };
    vec![
        ("corpus/b.eml", message("second", 3)),
        ("corpus/a.eml", message("first", 60_000)),
        ("corpus/twin.eml", message("second", 3)),
        ("corpus/notes.txt", b"no message".to_vec()),
        ("corpus/z.eml", message("last", 40)),
    ]
}

fn profiles() -> [Written; 3] {
    let list = |domain: &str| {
        let names: String = (0..40).map(|n| format!("user{n}@{domain}\n")).collect();
        names.into_bytes()
    };
    [
        written("files = \"corpus\"\nfiles_order = \"random\"", &corpus()),
        written(
            "from_file = \"lists/senders\"\nto_file = \"lists/to.csv\"\nto_order = \"random\"\ntext_file = \"text\"",
            &[
                ("lists/senders", list("sender.example")),
                ("lists/to.csv", list("recipient.example")),
                ("text", b"text {n}\n".to_vec()),
            ],
        ),
        // A Maildir.
        written(
            "files = \"mail\"",
            &[
                ("mail/cur/1:2,S", b"Subject: read\r\n\r\nread\r\n".to_vec()),
                ("mail/new/2", b"Subject: new\n\nnew\n".to_vec()),
                ("mail/tmp/3", b"Subject: not yet\n\n".to_vec()),
            ],
        ),
    ]
}

#[track_caller]
fn assert_same_messages(one: &Ended, fleet: &Ended) {
    for ended in [one, fleet] {
        assert!([0, 98].contains(&ended.code), "{}: {}", ended.code, ended.said);
        assert_eq!(number(&ended.result()["ledger"], "messages"), 90, "{}", ended.said);
    }
    for field in ["digest", "content_bytes", "recipients"] {
        assert_eq!(fleet.result()["ledger"][field], one.result()["ledger"][field], "{field}");
    }
}

/// Starts an agent that sees these folders as empty.
fn blind_agent(
    server: &OpenServer,
    name: &str,
    key: &KeyPair,
    hidden: &[&Path],
) -> Option<(Processes, PathBuf)> {
    let output = server.folder.path().join(format!("{name}.log"));
    let words = ["agent", "--nats", &server.url(), "--coordinator", &key.public_key(), "--name", name];
    let agent = smtpress(server.folder.path(), &words);
    let mut command = Command::new("unshare");
    let hide: String =
        hidden.iter().map(|path| format!("mount -t tmpfs tmpfs {} && ", path.display())).collect();
    command.args(["-m", "sh", "-c", &format!("{hide}exec \"$@\""), "sh"]).arg(agent.get_program());
    command.args(agent.get_args()).arg("--spool").arg(server.folder.path().join("spool"));
    command.current_dir(server.folder.path());
    let processes = Processes::start(&mut command, &output);
    let said = || fs::read_to_string(&output).unwrap_or_default();
    if !wait_until(|| {
        said().contains("waiting for work") || said().contains("denied") || said().contains("unshare")
    }) {
        panic!("{}", said());
    }
    if !said().contains("waiting for work") {
        return listener::missing("no mount namespace can be made");
    }
    Some((processes, output))
}

#[test]
fn agents_that_have_no_files_send_those_of_the_coordinator() {
    let profiles = profiles();
    let Some(server) = OpenServer::start() else { return };
    let key = KeyPair::new_user();
    let hidden: Vec<&Path> = profiles.iter().map(|own| own.folder.path()).collect();
    let mut agents = Vec::new();
    for name in ["one", "two", "three"] {
        let Some(agent) = blind_agent(&server, name, &key, &hidden) else { return };
        agents.push(agent);
    }
    let seed = server.folder.path().join("seed");
    fs::write(&seed, key.seed().unwrap()).unwrap();
    for own in &profiles {
        let path = own.profile.display();
        let one = measured(|| Fleet::start(&format!("run {path}"), |_| {}).wait());
        let words = format!("fleet run {path} --nats {} --agents 3 --key {}", server.url(), seed.display());
        // On a busy machine an agent may be silent for a long time.
        let whole = |ended: &Ended| ended.code != 98 || ended.lost().is_empty();
        let three = (0..4).find_map(|_| Some(Fleet::start(&words, |_| {}).wait()).filter(whole));
        let three = three.expect("one of four runs loses no agent");
        assert_same_messages(&one, &three);
        let waits = || fs::read_dir(server.folder.path().join("spool")).unwrap().count();
        assert!(wait_until(|| waits() == 0), "files are left");
    }
}

#[test]
fn files_that_are_too_large_are_a_sentence_and_no_load() {
    let own = written("files = \"corpus\"", &corpus());
    for (name, letter) in [("corpus/large1.eml", b'x'), ("corpus/large2.eml", b'y')] {
        let line = [vec![letter; 70], b"\r\n".to_vec()].concat();
        let content = [b"Subject: large\r\n\r\n".to_vec(), line.repeat((140 << 20) / 72)].concat();
        fs::write(own.folder.path().join(name), content).unwrap();
    }
    let Some(fleet) = Fleet::local(2, &own.profile.display().to_string()) else { return };
    let ended = fleet.wait();
    assert_eq!(ended.code, 2, "{}", ended.said);
    assert!(ended.said.contains("at most 268435456 (256 MiB) are sent to agents"), "{}", ended.said);
    assert!(ended.said.contains("--shard"), "{}", ended.said);
}

#[test]
fn local_agents_leave_no_files() {
    let own = written("files = \"corpus\"", &corpus());
    let Some(fleet) = Fleet::local(2, &own.profile.display().to_string()) else { return };
    // `wait` checks that no temporary file is left.
    let ended = fleet.wait();
    let one = Fleet::start(&format!("run {}", own.profile.display()), |_| {}).wait();
    assert_same_messages(&one, &ended);
}
