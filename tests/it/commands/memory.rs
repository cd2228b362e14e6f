//! Memory does not grow with the messages sent (M26). The half hour of the rule at 2,000 messages a second is
//! `cargo bench --bench side_by_side -- --soak 30`. This test checks the rule over the second hundred thousand messages
//! of a run.

use smtpress::listener::limits::Limits;

use super::stage::Stage;

const MESSAGES: u64 = 200_000;
/// The growth that is allowed, because it does not come from messages: if the machine gets busy, times of a new size
/// are recorded, and each size touches new pages of its histogram in every copy. A leak of 40 bytes for each of a
/// hundred thousand messages is more than this.
const PAGES_KIB: u64 = 2048;

/// The resident memory of a process, in KiB; `None` if the process has ended.
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
    // In a closed load no arrival waits, so a slow machine needs no more memory.
    let flags = ["--messages-per-session", "0", "-c", "20", "--threads", "2", "--size", "1KiB"];
    let load = ["run", "--target", &target, "-n", &messages, "--progress", "none", "-o", "r"];
    let running = stage.start(&[&load[..], &flags].concat());
    // The first half is the warm-up: the first time of each size touches a page of its histogram in every copy.
    let (mut warm, mut last) = (0, None);
    loop {
        // The memory is read before the count, so that it belongs to no later moment than the count.
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
