//! Tests of message files that the coordinator sends to an agent, including a coordinator that breaks the rules.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::fleet::message::{decode, encode};

fn hash(content: &[u8]) -> ContentHash {
    ContentHash(Sha256::digest(content).into())
}

fn announce(place: FilePlace, content: &[u8]) -> AnnouncedFile {
    AnnouncedFile { place, hash: hash(content), length: content.len() as u64 }
}

fn part(content: &[u8], at: usize, bytes: &[u8]) -> ContentPart {
    ContentPart { hash: hash(content), at: at as u64, bytes: bytes.to_vec() }
}

/// Passes all commands of the coordinator to an agent, encoded as on the bus. Returns the received files.
fn passed_on(files: &FilesToSend, root: &Path, most: usize) -> ReceivedFiles {
    let mut received = None;
    for order in files.orders("run-1", most) {
        let bytes = encode(&order.unwrap());
        assert!(bytes.len() < most.max(1000), "{} bytes in one message", bytes.len());
        match decode(&bytes).unwrap() {
            AgentOrder::Files { run, files } => {
                received = Some(ReceivedFiles::announced(root, &run, files).unwrap());
            }
            AgentOrder::Content(part) => received.as_mut().unwrap().take(&part).unwrap(),
            other => panic!("{other:?}"),
        }
    }
    received.unwrap()
}

#[test]
fn what_was_sent_stands_in_its_place_with_its_bytes_and_is_removed_at_the_end() {
    let (source, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let large: Vec<u8> = (0..40_000_u32).flat_map(u32::to_le_bytes).collect();
    let contents: [(&str, &[u8]); 5] =
        [("to.csv", b"a@b.example\n"), ("a.eml", &large), ("b.eml", b""), ("c.eml", &large), ("d.eml", b"x")];
    let paths: Vec<PathBuf> = contents
        .iter()
        .map(|(name, content)| {
            let path = source.path().join(name);
            fs::write(&path, content).unwrap();
            path
        })
        .collect();
    let place = |index| if index == 0 { FilePlace::Recipients } else { FilePlace::Messages };
    let files = paths.iter().enumerate().map(|(index, path)| (place(index), path.as_path()));
    let files = FilesToSend::read(files).unwrap();
    assert_eq!(
        files.in_words(),
        format!("5 files of {} bytes", large.len() + 13),
        "one content is sent once"
    );
    for most in [3000, 1 << 20] {
        let received = passed_on(&files, root.path(), most);
        let folder = received.folder.path().to_owned();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(received.places("run-2").is_err(), "they are for one run");
        let places = received.places("run-1").unwrap();
        assert_eq!(fs::read(&places[&FilePlace::Recipients]).unwrap(), contents[0].1);
        let mut names: Vec<PathBuf> =
            fs::read_dir(&places[&FilePlace::Messages]).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        let found: Vec<Vec<u8>> = names.iter().map(|path| fs::read(path).unwrap()).collect();
        assert_eq!(found, contents[1..].iter().map(|(_, content)| content.to_vec()).collect::<Vec<_>>());
        remove_abandoned(root.path());
        assert!(folder.exists(), "it is in use");
        drop(received);
        assert!(!folder.exists());
    }
}

#[test]
fn a_file_that_changed_since_it_was_announced_is_refused() {
    let (source, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = source.path().join("text");
    fs::write(&path, "before").unwrap();
    let files = FilesToSend::read([(FilePlace::Text, path.as_path())].into_iter()).unwrap();
    fs::write(&path, "after!").unwrap();
    let orders: Vec<AgentOrder> = files.orders("r", 1 << 20).map(Result::unwrap).collect();
    let [AgentOrder::Files { files: announced, .. }, AgentOrder::Content(part)] = &orders[..] else {
        panic!("{orders:?}");
    };
    let mut received = ReceivedFiles::announced(root.path(), "r", announced.clone()).unwrap();
    assert!(received.take(part).unwrap_err().contains("is not the announced one"));
    assert!(received.places("r").is_err());
    fs::remove_file(&path).unwrap();
    assert!(files.orders("r", 1 << 20).any(|order| order.is_err_and(|why| why.contains("failed to read"))));
}

#[test]
fn a_coordinator_that_sends_something_else_than_it_announced_gets_nothing_stored() {
    let root = tempfile::tempdir().unwrap();
    let content = b"0123456789";
    let announced = vec![announce(FilePlace::Text, content)];
    let fresh = || ReceivedFiles::announced(root.path(), "r", announced.clone()).unwrap();
    let refused = |received: &mut ReceivedFiles, part: ContentPart, why: &str| {
        let said = received.take(&part).unwrap_err();
        assert!(said.contains(why), "{said}");
        assert!(received.places("r").unwrap_err().contains("not all"), "{part:?}");
    };
    refused(&mut fresh(), part(b"other", 0, b"other"), "not announced");
    refused(&mut fresh(), part(content, 0, b"0123456789a"), "more than the 10 bytes");
    refused(&mut fresh(), part(content, 3, b"3456789"), "from 3 on");
    refused(&mut fresh(), part(content, u64::MAX as usize, b"3"), "were expected");
    refused(&mut fresh(), part(content, 0, b"012345678X"), "SHA-256");
    let mut received = fresh();
    received.take(&part(content, 0, b"01234")).unwrap();
    refused(&mut received, part(content, 0, b"01234"), "where 5 were expected");
    refused(&mut received, part(content, 5, b"567890"), "more than");
    received.take(&part(content, 5, b"56789")).unwrap();
    assert!(received.take(&part(content, 10, b"")).is_err(), "it is whole");
    assert_eq!(fs::read(&received.places("r").unwrap()[&FilePlace::Text]).unwrap(), content);
    // After a wrong content the announced content is refused, too.
    let mut received = fresh();
    received.take(&part(content, 0, b"XXXXXXXXXX")).unwrap_err();
    assert!(received.take(&part(content, 0, content)).is_err());
    assert!(received.places("r").is_err());
}

#[test]
fn more_than_is_allowed_is_refused_before_anything_is_stored() {
    let root = tempfile::tempdir().unwrap();
    let refused = |files: Vec<AnnouncedFile>, run: &str, why: &str| {
        let said = ReceivedFiles::announced(root.path(), run, files).unwrap_err();
        assert!(said.contains(why), "{said}");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    };
    let large = |content: &[u8], length| AnnouncedFile { length, ..announce(FilePlace::Messages, content) };
    refused(vec![large(b"a", MOST_BYTES), large(b"b", 1)], "r", "256 MiB");
    refused(vec![large(b"a", u64::MAX), large(b"b", 2)], "r", "256 MiB");
    refused(vec![large(b"a", 1); MOST_FILES + 1], "r", "at most 10000");
    refused(vec![large(b"a", 1), large(b"a", 2)], "r", "different lengths");
    refused(vec![announce(FilePlace::Text, b"a"), announce(FilePlace::Text, b"b")], "r", "message.text_file");
    for run in ["../../etc", "", "a/b", "a.b"] {
        refused(vec![large(b"a", 1)], run, "no proper name");
    }
    // This file has no end.
    let said = FilesToSend::read([(FilePlace::Text, Path::new("/dev/zero"))].into_iter()).unwrap_err();
    assert!(said.contains("256 MiB") && said.contains("--shard"), "{said}");
    let said = FilesToSend::read([(FilePlace::Text, Path::new("/nowhere"))].into_iter()).unwrap_err();
    assert!(said.contains("failed to read /nowhere"), "{said}");
}

#[test]
fn what_an_agent_left_that_was_killed_is_removed_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let lives = ReceivedFiles::announced(root.path(), "r", vec![announce(FilePlace::Text, b"a")]).unwrap();
    let dead = root.path().join(format!("{PREFIX}dead"));
    for folder in [dead.clone(), root.path().join("r.0.agent"), root.path().join(format!("{PREFIX}new"))] {
        fs::create_dir(folder).unwrap();
    }
    fs::write(dead.join(LOCK), "").unwrap();
    fs::write(dead.join("text_file"), "left").unwrap();
    remove_abandoned(root.path());
    assert!(!dead.exists() && lives.folder.path().exists());
    assert!(root.path().join("r.0.agent").exists() && root.path().join(format!("{PREFIX}new")).exists());
}

#[test]
fn a_folder_that_is_being_made_is_not_removed() {
    let root = tempfile::tempdir().unwrap();
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                remove_abandoned(root.path());
            }
        });
        let lost = (0..3_000)
            .filter(|_| {
                !PrivateFolder::make(root.path()).is_ok_and(|folder| folder.path().join(LOCK).exists())
            })
            .count();
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(lost, 0, "of 3000");
    });
}
