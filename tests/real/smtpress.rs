//! The binary under test: starts it, waits for it, and reads its result.json like the script of a user.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// The possible outcomes of an arrival that started (M10).
pub const OUTCOMES: [&str; 10] = [
    "accepted",
    "expected",
    "deferred",
    "rejected",
    "refused",
    "dropped",
    "timed_out",
    "in_doubt",
    "malformed",
    "interrupted",
];

/// A run in progress.
pub struct Running {
    child: Child,
    folder: TempDir,
}

/// The end of a run.
pub struct Outcome {
    pub result: Value,
    /// `result.json` of the run directory.
    pub stored: Option<Value>,
}

/// The user that logs in, and the passwords in the environment of a run: the right one and a wrong one.
pub const USER: &str = "load";
pub const PASSWORD: &str = "open sesame";
const ENVIRONMENT: [(&str, &str); 2] = [("RIGHT", PASSWORD), ("WRONG", "open barley")];

/// The flags of a login, with the password in `RIGHT` or in `WRONG`.
pub fn login(mechanism: &str, password: &str) -> String {
    format!(
        "--set session.auth.mechanism={mechanism} --set session.auth.user={USER} --set session.auth.password_env={password}"
    )
}

/// Runs `smtpress run --target` at a loopback port with these flags, with its result on standard output.
pub fn run(port: u16, flags: &str) -> Outcome {
    start(port, flags).wait()
}

/// Starts such a run without a wait for its end.
pub fn start(port: u16, flags: &str) -> Running {
    start_at(&format!("smtp://127.0.0.1:{port}"), flags)
}

/// Runs against any target, such as `smtps://` or `lmtp://`.
pub fn run_at(target: &str, flags: &str) -> Outcome {
    start_at(target, flags).wait()
}

fn start_at(target: &str, flags: &str) -> Running {
    let mut words = vec!["run", "--target", target];
    words.extend(flags.split_whitespace());
    words.extend(["--out", "run", "--json", "-", "--progress", "none"]);
    Running::start(&words, tempfile::tempdir().unwrap())
}

/// Starts a run of a profile, without a wait for its end.
pub fn start_profile(profile: &str) -> Running {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("p.toml"), profile).unwrap();
    Running::start(&["run", "p.toml", "--out", "run", "--json", "-", "--progress", "none"], folder)
}

/// The transcript of one accepted message.
#[track_caller]
pub fn trace(target: &str, flags: &str) -> String {
    let (code, transcript) = traced(&format!("{target} {flags}"));
    assert_eq!(code, 0, "{transcript}");
    transcript
}

/// The exit code and the transcript of `smtpress trace` with these arguments.
pub fn traced(arguments: &str) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_smtpress"))
        .arg("trace")
        .args(arguments.split_whitespace())
        .envs(ENVIRONMENT)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap_or_else(|| panic!("smtpress ended by {}: {said}", output.status)), said)
}

/// `smtpress` with these arguments, in this folder: its exit code, stdout and stderr.
pub fn in_folder(folder: &std::path::Path, arguments: &str) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_smtpress"))
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// Returns the exit code and the output of a run that does not start.
#[track_caller]
pub fn refused(port: u16, flags: &str) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_smtpress"))
        .args(["run", "--target", &format!("smtp://127.0.0.1:{port}"), "--progress", "none"])
        .args(flags.split_whitespace())
        .current_dir(tempfile::tempdir().unwrap().path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or_else(|| panic!("smtpress ended by {}: {said}", output.status)), said)
}

/// The exit code and the result of `smtpress limit` at a loopback port with these flags.
pub fn limit(port: u16, flags: &str) -> (i32, Value) {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_smtpress"))
        .args(["limit", "--target", &format!("smtp://127.0.0.1:{port}")])
        .args(flags.split_whitespace())
        .args(["--json", "-", "--progress", "none", "--out", "run"])
        .current_dir(folder.path())
        .envs(ENVIRONMENT)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code().unwrap_or_else(|| panic!("smtpress ended by {}: {said}", output.status));
    let result = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    (code, result)
}

impl Running {
    fn start(words: &[&str], folder: TempDir) -> Running {
        let output = |name: &str| fs::File::create(folder.path().join(name)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_smtpress"))
            .args(words)
            .envs(ENVIRONMENT)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .spawn()
            .unwrap();
        Running { child, folder }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let sent =
            Command::new("sh").args(["-c", "kill -s $0 $1", signal, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success(), "{signal}");
    }

    /// Waits for the end, at most three minutes. Standard output must be pure JSON, whatever the result of the load.
    pub fn wait(self) -> Outcome {
        self.wait_for(3)
    }

    /// Waits for the end, at most this many minutes.
    pub fn wait_for(mut self, minutes: usize) -> Outcome {
        let read = |name: &str| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        let ended = (0..minutes * 3000).find_map(|_| {
            thread::sleep(Duration::from_millis(20));
            self.child.try_wait().unwrap()
        });
        let stderr = read("stderr");
        let status = ended.unwrap_or_else(|| panic!("smtpress does not end: {stderr}"));
        let code = status.code().unwrap_or_else(|| panic!("smtpress ended by {status}: {stderr}"));
        // 98 and 99 are possible on a busy machine and with a listener that has limits. The codes below are errors.
        assert!(![1, 2, 3, 4].contains(&code), "smtpress ended with {code}: {stderr}");
        let stdout = read("stdout");
        let result: Value =
            serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error} in {stdout:?}: {stderr}"));
        assert_eq!(result["verdict"]["exit_code"], code, "the result names the exit code");
        let stored = fs::read_to_string(self.folder.path().join(PathBuf::from("run/result.json"))).ok();
        Outcome { result, stored: stored.map(|text| serde_json::from_str(&text).unwrap()) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // This fails if the run has already ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Outcome {
    /// A count, over all phases.
    #[track_caller]
    pub fn count(&self, field: &str) -> u64 {
        self.phases().iter().map(|phase| number(phase, field)).sum()
    }

    /// The exit code. On a machine that is too busy to measure it is 98, which outranks other codes.
    #[track_caller]
    pub fn exit_code_or_busy(&self) -> u64 {
        let verdict = &self.result["verdict"];
        let failed = self.result["assertions"].as_array().unwrap().iter().any(|one| one["status"] == "fail");
        match verdict["exit_code"].as_u64().unwrap() {
            98 if failed => 99,
            98 => 0,
            code => code,
        }
    }

    /// The TLS handshakes: full and resumed.
    #[track_caller]
    pub fn handshakes(&self) -> (u64, u64) {
        let sum = |field| self.phases().iter().map(|phase| number(&phase["tls"], field)).sum();
        (sum("full"), sum("resumed"))
    }

    /// Checks that nothing was accepted, and that the exit code is that of a failed assertion, or 98 on a busy machine.
    #[track_caller]
    pub fn assert_nothing_went_out(&self) {
        assert_eq!(self.count("accepted"), 0);
        let verdict = &self.result["verdict"];
        assert!(matches!(verdict["exit_code"].as_u64(), Some(98 | 99)), "{verdict:#}");
        let failed = |assertion: &Value| assertion["expr"] == "accepted > 0" && assertion["status"] == "fail";
        assert!(
            self.result["assertions"].as_array().unwrap().iter().any(failed),
            "{:#}",
            self.result["assertions"]
        );
    }

    /// The recipients that were accepted and refused, over all phases.
    #[track_caller]
    pub fn recipients(&self) -> (u64, u64) {
        let sum = |field| self.phases().iter().map(|phase| number(&phase["recipients"], field)).sum();
        (sum("accepted"), sum("refused"))
    }

    /// The failures of this condition at this step: their number and the sample reply of the first.
    #[track_caller]
    pub fn condition(&self, step: &str, name: &str) -> (u64, String) {
        let conditions = self.result["conditions"].as_array().unwrap();
        let found = conditions
            .iter()
            .find(|condition| condition["step"] == step && condition["condition"] == name)
            .unwrap_or_else(|| panic!("no {name} at {step} among {conditions:#?}"));
        (number(found, "count"), found["sample"].as_str().unwrap().to_owned())
    }

    /// A percentile of the response times of accepted arrivals in the first phase, in nanoseconds.
    #[track_caller]
    pub fn response_ns(&self, q: f64) -> u64 {
        self.percentile_ns("response", q)
    }

    /// A percentile of this metric of accepted arrivals in the first phase, in nanoseconds.
    #[track_caller]
    pub fn percentile_ns(&self, name: &str, q: f64) -> u64 {
        let metrics = self.result["metrics"].as_array().unwrap();
        let accepted = metrics.iter().find(|m| m["name"] == name && m["outcome"] == "accepted").unwrap();
        let percentiles = accepted["percentiles"].as_array().unwrap();
        number(percentiles.iter().find(|percentile| percentile["q"] == q).unwrap(), "value_ns")
    }

    /// A count of deliveries, over all phases.
    #[track_caller]
    pub fn delivery(&self, field: &str) -> u64 {
        self.phases().iter().map(|phase| number(&phase["delivery"], field)).sum()
    }

    /// The number of deliveries of messages of other runs.
    #[track_caller]
    pub fn foreign(&self) -> u64 {
        number(&self.result["delivery"], "foreign")
    }

    /// The bounced recipients by status code.
    #[track_caller]
    pub fn bounces(&self) -> BTreeMap<String, u64> {
        let bounces = self.result["delivery"]["bounces"].as_array().unwrap();
        let row = |bounce: &Value| (bounce["status"].as_str().unwrap().to_owned(), number(bounce, "count"));
        let mut by_status = BTreeMap::new();
        bounces.iter().map(row).for_each(|(status, count)| *by_status.entry(status).or_default() += count);
        by_status
    }

    /// Checks M31 exactly, for every phase.
    #[track_caller]
    pub fn assert_deliveries_reconcile(&self) {
        for phase in self.phases() {
            let sum =
                |fields: &[&str]| fields.iter().map(|field| number(&phase["delivery"], field)).sum::<u64>();
            let accepted = sum(&["accepted_recipients"]);
            assert_eq!(accepted, sum(&["delivered", "bounced", "missing"]), "{phase:#}");
            assert!(accepted <= number(&phase["recipients"], "accepted"), "{phase:#}");
            let in_doubt = ["in_doubt_delivered", "in_doubt_bounced", "in_doubt_missing"];
            assert_eq!(sum(&["in_doubt"]), sum(&in_doubt), "{phase:#}");
        }
    }

    /// The status and the observed value of a built-in assertion.
    #[track_caller]
    pub fn asserted(&self, expr: &str) -> (String, String) {
        let all = self.result["assertions"].as_array().unwrap();
        let one = all.iter().find(|assertion| assertion["expr"] == expr).unwrap();
        [&one["status"], &one["observed"]].map(|text| text.as_str().unwrap().to_owned()).into()
    }

    /// Checks M10 exactly, for every phase.
    #[track_caller]
    pub fn assert_counts_reconcile(&self) {
        for phase in self.phases() {
            let started = number(phase, "started");
            assert_eq!(number(phase, "scheduled"), number(phase, "shed") + started, "{phase:#}");
            assert_eq!(
                started,
                OUTCOMES.iter().map(|outcome| number(phase, outcome)).sum::<u64>(),
                "{phase:#}"
            );
        }
    }

    /// Checks that the run directory has the same result.
    #[track_caller]
    pub fn assert_report_is_written(&self) {
        assert_eq!(self.stored.as_ref(), Some(&self.result), "result.json of the run directory");
    }

    #[track_caller]
    fn phases(&self) -> &[Value] {
        let phases = self.result["phases"].as_array().unwrap();
        assert!(!phases.is_empty());
        phases
    }
}

#[track_caller]
fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("no number {field} in {value:#}"))
}
