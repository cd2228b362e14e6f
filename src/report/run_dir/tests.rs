//! The run directory on a real file system.

use super::*;
use crate::collector::snapshot::{Gauges, Interval};
use crate::collector::tally::Tally;
use crate::collector::{Metric, Outcome};
use crate::report::fixtures;

const STARTED: Duration = Duration::from_secs(1_795_437_000);

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn interval() -> Interval {
    let mut tally = Tally::new(1);
    tally.phases[0].counts.scheduled = 1;
    tally.phases[0].hists.entry((Metric::Response, Outcome::Accepted)).or_default().record(5_000_000);
    Interval { start: Duration::ZERO, length: Duration::from_secs(1), tally, gauges: Gauges::default() }
}

fn store(directory: &RunDir, result: &RunResult) -> Result<(), RunDirError> {
    let environment = Environment::read(vec!["smtpress".into(), "run".into()], STARTED);
    directory.store(Contents {
        result,
        profile: "schema = 1\n",
        environment: &environment,
        transcripts: &[
            ("storm/421 ../../etc".into(), "S: 421\n".into()),
            ("storm/421 ../../etc".into(), "S: 421 again\n".into()),
        ],
    })
}

#[test]
fn a_run_is_stored_whole_and_read_back() {
    let parent = tempfile::tempdir().unwrap();
    let directory = RunDir::create(Some(&parent.path().join("deep/er/run")), "x", STARTED).unwrap();
    let mut recording = directory.record(&["steady".into()], STARTED).unwrap();
    recording.add(&interval());
    assert!(names(directory.path()).iter().all(|name| name.ends_with(".part")), "nothing is half there");
    recording.finish().unwrap();
    store(&directory, &fixtures::limit_bites()).unwrap();
    assert_eq!(
        names(directory.path()),
        [
            "conditions.csv",
            "environment.json",
            "failures.jsonl",
            "metrics.hlog",
            "profile.toml",
            "report.html",
            "result.json",
            "timeseries.csv",
            "transcripts"
        ]
    );
    assert_eq!(
        names(&directory.path().join("transcripts")),
        ["storm-421-..-..-etc-2.txt", "storm-421-..-..-etc.txt"]
    );
    assert_eq!(RunDir::open(directory.path()).unwrap(), fixtures::limit_bites());
    assert_eq!(RunDir::open(&directory.path().join("result.json")).unwrap(), fixtures::limit_bites());
    assert_eq!(fs::read_to_string(directory.path().join("timeseries.csv")).unwrap().lines().count(), 2);
    assert!(
        fs::read_to_string(directory.path().join("metrics.hlog"))
            .unwrap()
            .contains("Tag=steady/response/accepted")
    );
    let mode = fs::metadata(directory.path().join("result.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0, "{mode:o}");
}

#[test]
fn an_existing_run_is_never_overwritten() {
    let parent = tempfile::tempdir().unwrap();
    let wanted = parent.path().join("run");
    let mut paths = Vec::new();
    for _ in 0..3 {
        let directory = RunDir::create(Some(&wanted), "x", STARTED).unwrap();
        store(&directory, &fixtures::accepted()).unwrap();
        paths.push(directory.path().file_name().unwrap().to_str().unwrap().to_owned());
    }
    assert_eq!(paths, ["run", "run-2", "run-3"]);
    fs::create_dir(parent.path().join("empty")).unwrap();
    let taken = RunDir::create(Some(&parent.path().join("empty")), "x", STARTED).unwrap();
    assert_eq!(taken.path(), parent.path().join("empty"));
    assert!(names(taken.path()).is_empty(), "the trial leaves nothing behind");
}

#[test]
fn what_cannot_be_written_is_named_with_a_remedy() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    let error = RunDir::create(Some(&file), "x", STARTED).unwrap_err().to_string();
    assert!(
        error.contains("/file: there is a file of that name; name another directory with --out"),
        "{error}"
    );
    let error = RunDir::create(Some(&file.join("run")), "x", STARTED).unwrap_err().to_string();
    assert!(error.contains("failed to make the run directory") && error.contains("--out"), "{error}");
    let full = remedy(&io::Error::from_raw_os_error(28));
    assert!(full.starts_with("free some space"), "{full}");
    assert!(remedy(&io::Error::from_raw_os_error(13)).starts_with("allow writing"));
}

#[test]
fn a_directory_that_goes_away_stops_nothing_and_is_told_at_the_end() {
    let parent = tempfile::tempdir().unwrap();
    let directory = RunDir::create(Some(&parent.path().join("run")), "x", STARTED).unwrap();
    let mut recording = directory.record(&["steady".into()], STARTED).unwrap();
    fs::remove_dir_all(directory.path()).unwrap();
    recording.add(&interval());
    let error = recording.finish().unwrap_err().to_string();
    assert!(error.contains("run/timeseries.csv"), "{error}");
    let error = store(&directory, &fixtures::accepted()).unwrap_err().to_string();
    assert!(error.contains("run/profile.toml"), "{error}");
}

#[test]
fn one_file_that_fails_does_not_lose_the_result() {
    let parent = tempfile::tempdir().unwrap();
    let directory = RunDir::create(Some(&parent.path().join("run")), "x", STARTED).unwrap();
    fs::create_dir_all(directory.path().join("failures.jsonl/in-the-way")).unwrap();
    let error = store(&directory, &fixtures::accepted()).unwrap_err().to_string();
    assert!(error.contains("failures.jsonl"), "{error}");
    assert_eq!(RunDir::open(directory.path()).unwrap(), fixtures::accepted());
}

#[test]
fn reading_names_the_file_and_what_is_wrong() {
    let parent = tempfile::tempdir().unwrap();
    let error = RunDir::open(parent.path()).unwrap_err().to_string();
    assert!(error.contains("result.json") && error.contains("give the directory of a run"), "{error}");
    fs::write(parent.path().join("result.json"), r#"{"schema_version": 9}"#).unwrap();
    let error = RunDir::open(parent.path()).unwrap_err().to_string();
    assert!(error.contains("has schema_version 9"), "{error}");
}

#[test]
fn the_default_name_is_the_time_and_the_profile() {
    assert_eq!(file_stem("mx rollout/2026"), "mx-rollout-2026");
    assert_eq!(file_stem("../.."), "run");
    assert_eq!(file_stem(""), "run");
}
