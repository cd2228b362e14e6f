//! The subjects on the bus, and the names of what is stored there.

/// The stream that keeps the reports and the record of a run until the run is over.
pub const STREAM: &str = "SMTPRESS_RUN";
/// The subject pattern of the reports of all runs.
pub const REPORTS: &str = "smtpress.v1.run.*.report.>";
/// The subject pattern of the records of all runs, for a coordinator that takes a run over.
pub const RECORDS: &str = "smtpress.v1.run.*.record";
/// The subject pattern of the heartbeats of all agents.
pub const HEARTBEATS: &str = "smtpress.v1.agent.*.heartbeat";

/// Whether a name is valid in a subject: letters, digits, `-` and `_`, at most 64 of them.
pub fn is_name(name: &str) -> bool {
    let may = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !name.is_empty() && name.len() <= 64 && name.bytes().all(may)
}

/// Returns the subject of an agent's heartbeats.
pub fn heartbeat(agent: &str) -> String {
    format!("smtpress.v1.agent.{agent}.heartbeat")
}

/// Returns the subject of the commands to an agent.
pub fn command(agent: &str) -> String {
    format!("smtpress.v1.agent.{agent}.command")
}

/// Returns the subject of the leases of a run.
pub fn control(run: &str) -> String {
    format!("smtpress.v1.run.{run}.control")
}

/// Returns the subject of the reports of a shard's seconds.
pub fn second(run: &str, shard: u32, agent: &str) -> String {
    format!("smtpress.v1.run.{run}.report.interval.{shard}.{agent}")
}

/// Returns the subject of the last report of a shard.
pub fn last(run: &str, shard: u32, agent: &str) -> String {
    format!("smtpress.v1.run.{run}.report.final.{shard}.{agent}")
}

/// Returns the pattern of all reports of a run.
pub fn reports(run: &str) -> String {
    format!("smtpress.v1.run.{run}.report.>")
}

/// Returns the subject of the record of a run, for a coordinator that takes it over.
pub fn record(run: &str) -> String {
    format!("smtpress.v1.run.{run}.record")
}

/// Returns the pattern of all messages of a run in the stream.
pub fn stored(run: &str) -> String {
    format!("smtpress.v1.run.{run}.>")
}

/// Returns the pattern of all reports of an agent, for any run and shard.
pub fn reports_of(agent: &str) -> String {
    format!("smtpress.v1.run.*.report.*.*.{agent}")
}

/// Returns the run that the subject of a report names.
pub fn run_of(subject: &str) -> Option<&str> {
    subject.split('.').nth(3)
}

/// Returns the shard and the agent that the subject of a report names.
pub fn of_report(subject: &str) -> Option<(u32, &str)> {
    let mut words = subject.split('.').skip(6);
    let shard = words.next()?.parse().ok()?;
    Some((shard, words.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_single_words_of_a_subject() {
        assert!(is_name("load1-4711") && is_name("a_b"));
        for wrong in ["", "a.b", "a b", "*", ">", "a\n", "é", &"a".repeat(65)] {
            assert!(!is_name(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_report_names_its_shard_and_agent() {
        assert_eq!(of_report(&second("6a2-1", 7, "load1")), Some((7, "load1")));
        assert_eq!(of_report(&last("6a2-1", 0, "x")), Some((0, "x")));
        assert_eq!(of_report("smtpress.v1.run.r.report.interval.x.y"), None);
        assert_eq!(of_report("smtpress.v1"), None);
        assert_eq!(run_of(&last("6a2-1", 0, "x")), Some("6a2-1"));
    }
}
