//! Memory does not grow with the messages sent (M26). The rule's half hour at 2,000 a second is
//! `cargo bench --bench side_by_side -- --soak 30`; here the same is held over the second hundred thousand messages of a run.

use smtpress::listener::limits::Limits;

use super::stage::Stage;

const MESSAGES: u64 = 200_000;
/// What may come late and is not the messages': a machine that grows busy shows sizes of times for the first time, each of
/// which touches pages of its histogram in every copy. A hundred thousand messages that leave 40 bytes each are more.
const PAGES_KIB: u64 = 2048;

/// The resident memory of a process, in KiB; `None`: it is over.
fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

#[test]
fn m26_memory_does_not_grow_with_the_messages_sent() {
    let stage = Stage::new();
    let listener =
        smtpress::listener::start("127.0.0.1:0".parse().unwrap(), Limits::default(), 7, 1).unwrap();
    let (target, messages) = (format!("smtp://{}", listener.addr()), MESSAGES.to_string());
    // A closed load: no arrival waits, so that a slow machine does not need more memory.
    let flags = ["--messages-per-session", "0", "-c", "20", "--threads", "2", "--size", "1KiB"];
    let load = ["run", "--target", &target, "-n", &messages, "--progress", "none", "-o", "r"];
    let running = stage.start(&[&load[..], &flags].concat());
    // Half of them to be warm: the first time of each size touches a page of its histogram, in every copy that there is.
    let (mut warm, mut last) = (0, None);
    loop {
        // First the memory, then how far it has come: what is seen belongs to no later moment.
        let resident = resident_kib(running.id());
        let sent = listener.ledger().messages;
        match resident {
            Some(resident) if sent < MESSAGES / 2 => warm = resident.max(warm),
            Some(resident) if sent < MESSAGES => last = Some(resident),
            _ => break,
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    running.end().measured();
    let last = last.expect("a hundred thousand messages take longer than two looks");
    let most = warm * 105 / 100 + PAGES_KIB;
    assert!(warm > 0 && last <= most, "{warm} KiB after half of them, {last} KiB at the end");
    assert_eq!(listener.stop().messages, MESSAGES);
}
