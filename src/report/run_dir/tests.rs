//! Tests of the run directory on a real file system.

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
    Interval {
        transactions: Vec::new(),
        start: Duration::ZERO,
        length: Duration::from_secs(1),
        tally,
        gauges: Gauges::default(),
    }
}

fn store(directory: &mut RunDir, result: &RunResult) -> Result<(), RunDirError> {
    let environment = Environment::read(vec!["smtpress".into(), "run".into()], STARTED);
    directory.store(Contents {
        result,
        profile: "schema = 1\n",
        environment: &environment,
        transcripts: &[
            ("storm/421 ../../etc".into(), "S: 421\n".into()),
            ("storm/421 ../../etc".into(), "S: 421 again\n".into()),
            ("storm/421 ../../etc-2".into(), "S: 421 and a name that is taken\n".into()),
        ],
    })
}

#[test]
fn a_run_is_stored_whole_and_read_back() {
    let parent = tempfile::tempdir().unwrap();
    let mut directory =
        RunDir::create(Some(&parent.path().join("deep/er/run")), false, "x", STARTED).unwrap();
    let mut recording = directory.record(&["steady".into()], false, STARTED).unwrap();
    recording.add(&interval());
    assert!(!names(directory.path()).iter().any(|name| name == "result.json"));
    let series = || fs::read_to_string(directory.path().join("timeseries.csv")).unwrap();
    assert_eq!(series().lines().count(), 2, "each second is there when it is over");
    recording.finish().unwrap();
    store(&mut directory, &fixtures::limit_enforced()).unwrap();
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
        ["storm-421-..-..-etc-2-2.txt", "storm-421-..-..-etc-2.txt", "storm-421-..-..-etc.txt"]
    );
    let named = Some(directory.path().display().to_string());
    assert_eq!(
        RunDir::open(directory.path()).unwrap(),
        RunResult { directory: named, ..fixtures::limit_enforced() },
        "it may have been moved since it was stored"
    );
    assert_eq!(RunDir::open(&directory.path().join("result.json")).unwrap(), fixtures::limit_enforced());
    assert_eq!(fs::read_to_string(directory.path().join("timeseries.csv")).unwrap().lines().count(), 2);
    assert!(
        fs::read_to_string(directory.path().join("metrics.hlog"))
            .unwrap()
            .contains("Tag=steady/response/accepted")
    );
    let mode = fs::metadata(directory.path().join("result.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0, "{mode:o}");
}

/// Stores a result in `path`, and returns the path of its directory.
fn stored(path: &Path, overwrite: bool, result: &RunResult) -> Result<PathBuf, RunDirError> {
    let mut directory = RunDir::create(Some(path), overwrite, "x", STARTED)?;
    directory.keep(result)?;
    store(&mut directory, result)?;
    Ok(directory.path().to_owned())
}

#[track_caller]
fn taken(path: &Path, overwrite: bool) -> String {
    match RunDir::create(Some(path), overwrite, "x", STARTED) {
        Err(RunDirError::Taken { path: named, why }) => {
            assert_eq!(named, path.components().collect::<PathBuf>());
            why
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_name_that_is_taken_is_refused_and_never_changed() {
    let parent = tempfile::tempdir().unwrap();
    let run = parent.path().join("run");
    assert_eq!(stored(&run, false, &fixtures::accepted()).unwrap(), run);
    assert!(taken(&run, false).contains("--overwrite"));
    assert!(taken(&run.join(""), false).contains("--overwrite"), "with a slash at its end");
    let others = parent.path().join("others");
    fs::create_dir(&others).unwrap();
    fs::write(others.join("letter.txt"), "").unwrap();
    for overwrite in [false, true] {
        assert!(!taken(&others, overwrite).contains("--overwrite"));
    }
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    let nowhere = parent.path().join("nowhere");
    std::os::unix::fs::symlink(parent.path().join("gone"), &nowhere).unwrap();
    for overwrite in [false, true] {
        for (path, why) in [(&file, "there is a file of that name"), (&nowhere, "leads nowhere")] {
            let error = RunDir::create(Some(path), overwrite, "x", STARTED).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("--out"), "{error}");
        }
    }
    assert_eq!(names(parent.path()), ["file", "nowhere", "others", "run"]);
    // Without a name from the user, another free name is taken.
    let free: Vec<PathBuf> = (0..3)
        .map(|_| {
            let mut place = RunPlace::free(&parent.path().join("drawn")).unwrap();
            place.publish().unwrap();
            place.name
        })
        .collect();
    assert_eq!(free, ["drawn", "drawn-2", "drawn-3"].map(|name| parent.path().join(name)));
}

#[test]
fn an_empty_directory_is_taken_as_it_is_also_through_a_link() {
    let parent = tempfile::tempdir().unwrap();
    let (empty, link) = (parent.path().join("empty"), parent.path().join("link"));
    fs::create_dir(&empty).unwrap();
    std::os::unix::fs::symlink(&empty, &link).unwrap();
    let through = RunDir::create(Some(&link), false, "x", STARTED).unwrap();
    assert_eq!(through.path(), link);
    assert!(names(&empty).is_empty(), "the trial leaves nothing behind");
    assert!(taken(&empty, true).contains("another smtpress writes there"), "two runs, one place");
    drop(through);
    stored(&empty, false, &fixtures::accepted()).unwrap();
}

#[test]
fn what_is_overwritten_stays_until_the_new_run_is_stored() {
    let parent = tempfile::tempdir().unwrap();
    let (run, link) = (parent.path().join("run"), parent.path().join("link"));
    std::os::unix::fs::symlink(&run, &link).unwrap();
    stored(&run, true, &fixtures::accepted()).unwrap();
    for path in [&run, &link] {
        let mut directory = RunDir::create(Some(path), true, "x", STARTED).unwrap();
        directory.keep(&fixtures::limit_enforced()).unwrap();
        assert_eq!(directory.path(), path.as_path());
        assert!(directory.replaces());
        assert_eq!(RunDir::open(&run).unwrap().verdict, fixtures::accepted().verdict);
        assert_eq!(RunDir::newer(&run).unwrap(), parent.path().join("run.unfinished"));
        assert!(taken(&run, true).contains("another smtpress"), "one at a time");
        store(&mut directory, &fixtures::limit_enforced()).unwrap();
        assert_eq!(RunDir::open(&run).unwrap().verdict, fixtures::limit_enforced().verdict);
        assert_eq!(names(parent.path()), ["link", "run"], "nothing of the old one is left");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        // The lock ends when `directory` is dropped.
        drop(directory);
        stored(&run, true, &fixtures::accepted()).unwrap();
    }
    // A killed run does not block the name.
    let killed = RunDir::create(Some(&run), true, "x", STARTED).unwrap();
    killed.keep(&fixtures::accepted()).unwrap();
    drop(killed);
    assert_eq!(names(parent.path()), ["link", "run", "run.unfinished"]);
    stored(&run, true, &fixtures::limit_enforced()).unwrap();
    assert_eq!(names(parent.path()), ["link", "run"]);
    // The same holds for a run that was killed before it had written anything.
    fs::create_dir(parent.path().join("run.unfinished")).unwrap();
    stored(&run, true, &fixtures::accepted()).unwrap();
    assert_eq!(names(parent.path()), ["link", "run"]);
}

#[test]
fn only_what_runs_wrote_is_ever_removed() {
    let parent = tempfile::tempdir().unwrap();
    let run = parent.path().join("run");
    let file = |name: &str, text: &str| {
        let path = run.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for (name, text) in [
        ("notes.md", "mine"),
        ("smtpress.xml", "<x/>"),
        ("transcripts/picture.png", ""),
        ("transcripts/deep/er.txt", ""),
        ("report.html/index.html", ""),
        (".git/config", ""),
        ("base-1/notes.md", ""),
        ("unfinished.json", "{}"),
    ] {
        fs::remove_dir_all(&run).ok();
        stored(&run, false, &fixtures::accepted()).unwrap();
        if name.starts_with("report.html") {
            fs::remove_file(run.join("report.html")).unwrap();
        }
        file(name, text);
        let why = taken(&run, true);
        assert!(why.contains(name.split('/').next().unwrap()), "{name}: {why}");
        assert!(run.join(name).exists() && run.join("result.json").is_file(), "{name}");
    }
    // Neither a result of another program nor a folder of known names without a result is overwritten.
    for text in
        [Some("{}"), Some("not JSON"), Some(r#"{"schema_version": 1, "tool": {"name": "other"}}"#), None]
    {
        fs::remove_dir_all(&run).ok();
        file("profile.toml", "");
        if let Some(text) = text {
            file("result.json", text);
        }
        taken(&run, true);
        assert!(run.join("profile.toml").is_file());
    }
    // Another program writes a file during the run.
    fs::remove_dir_all(&run).unwrap();
    stored(&run, false, &fixtures::accepted()).unwrap();
    let mut directory = RunDir::create(Some(&run), true, "x", STARTED).unwrap();
    file("notes.md", "mine");
    let error = store(&mut directory, &fixtures::limit_enforced()).unwrap_err().to_string();
    assert!(error.contains("notes.md"), "{error}");
    assert_eq!(RunDir::open(&run).unwrap().verdict, fixtures::accepted().verdict);
    assert_eq!(RunDir::open(directory.files()).unwrap().verdict, fixtures::limit_enforced().verdict);
}

#[test]
fn the_runs_of_a_series_are_replaced_together() {
    let parent = tempfile::tempdir().unwrap();
    let series = parent.path().join("series");
    for round in 0..2 {
        let mut folder = RunDir::create(Some(&series), true, "x", STARTED).unwrap();
        for name in ["base-1", "candidate-1"] {
            let mut member = folder.member(name).unwrap();
            assert_eq!(member.path(), series.join(name));
            member.keep(&fixtures::accepted()).unwrap();
            store(&mut member, &fixtures::accepted()).unwrap();
        }
        assert_eq!(folder.replaces(), round > 0);
        folder.publish().unwrap();
        assert_eq!(names(&series), ["base-1", "candidate-1"]);
        assert_eq!(names(parent.path()), ["series"]);
        if round == 0 {
            fs::write(series.join("base-1/old.part"), "").unwrap();
            taken(&series, true);
            fs::remove_file(series.join("base-1/old.part")).unwrap();
        }
    }
}

#[test]
fn what_is_left_of_a_run_says_that_it_was_cut_off() {
    let parent = tempfile::tempdir().unwrap();
    let run = parent.path().join("run");
    let directory = RunDir::create(Some(&run), false, "x", STARTED).unwrap();
    let names: Vec<String> =
        fixtures::limit_enforced().phases.iter().map(|phase| phase.name.clone()).collect();
    let mut recording = directory.record(&names, false, STARTED).unwrap();
    let mut so_far = fixtures::limit_enforced();
    so_far.metrics.clear();
    so_far.took_s = 1.0;
    recording.add(&interval());
    directory.keep(&so_far).unwrap();
    // The log has a second after the last stored counts, and its last line is cut.
    recording.add(&Interval { start: Duration::from_secs(1), ..interval() });
    drop(recording);
    let log = run.join("metrics.hlog");
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, &text[..text.len() - 20]).unwrap();

    let found = RunDir::open(&run).unwrap();
    assert_eq!(found.validity.reasons, [IN_PROGRESS], "its process lives");
    drop(directory);
    let found = RunDir::open(&run).unwrap();
    assert_eq!(found.validity.reasons, [CUT_OFF]);
    assert_eq!((found.verdict.status.as_str(), found.verdict.exit_code), ("invalid", 105));
    assert!(found.is_unfinished());
    assert_eq!(found.phases, so_far.phases);
    assert_eq!(found.conditions, so_far.conditions);
    assert_eq!(found.metrics.iter().map(|own| own.count).collect::<Vec<_>>(), [1], "{:?}", found.metrics);
    assert!(found.assertions.iter().all(|own| own.status.as_str() == "not-judged"));
    let page = page(&run, &found, None);
    assert!(page.contains("cut off") && !page.contains("PASS"), "{page}");
    // The result fits the schema and can be read.
    assert_eq!(json::read(&json::write(&found)).unwrap(), found);
}

#[test]
fn what_is_stored_each_second_has_no_long_replies() {
    let parent = tempfile::tempdir().unwrap();
    let directory = RunDir::create(Some(&parent.path().join("run")), false, "x", STARTED).unwrap();
    let mut so_far = fixtures::limit_enforced();
    so_far.metrics.clear();
    so_far.conditions[0].sample = "é".repeat(2_000);
    directory.keep(&so_far).unwrap();
    let stored = json::read(&fs::read_to_string(directory.path().join(UNFINISHED)).unwrap()).unwrap();
    assert_eq!(stored.conditions[0].sample, format!("{}…", "é".repeat(256)));
    assert_eq!(stored.conditions[1..], so_far.conditions[1..]);
}

#[test]
fn what_cannot_be_written_is_named_with_a_remedy() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    let error = RunDir::create(Some(&file), false, "x", STARTED).unwrap_err().to_string();
    assert!(error.contains("/file: there is a file of that name; name another directory"), "{error}");
    let error = RunDir::create(Some(&file.join("run")), false, "x", STARTED).unwrap_err().to_string();
    assert!(error.contains("failed to make the run directory") && error.contains("--out"), "{error}");
    let full = remedy(&io::Error::from_raw_os_error(28));
    assert!(full.starts_with("free some space"), "{full}");
    assert!(remedy(&io::Error::from_raw_os_error(13)).starts_with("allow writing"));
}

#[test]
fn a_directory_that_goes_away_stops_nothing_and_is_reported_at_the_end() {
    let parent = tempfile::tempdir().unwrap();
    let mut directory = RunDir::create(Some(&parent.path().join("run")), false, "x", STARTED).unwrap();
    let mut recording = directory.record(&["steady".into()], false, STARTED).unwrap();
    fs::remove_dir_all(directory.path()).unwrap();
    recording.add(&interval());
    let error = recording.finish().unwrap_err().to_string();
    assert!(error.contains("run/timeseries.csv"), "{error}");
    let error = store(&mut directory, &fixtures::accepted()).unwrap_err().to_string();
    assert!(error.contains("run/result.json"), "{error}");
}

#[test]
fn one_file_that_fails_does_not_lose_the_result() {
    let parent = tempfile::tempdir().unwrap();
    let mut directory = RunDir::create(Some(&parent.path().join("run")), false, "x", STARTED).unwrap();
    fs::create_dir_all(directory.path().join("failures.jsonl/in-the-way")).unwrap();
    let error = store(&mut directory, &fixtures::accepted()).unwrap_err().to_string();
    assert!(error.contains("failures.jsonl"), "{error}");
    assert_eq!(RunDir::open(&directory.path().join("result.json")).unwrap(), fixtures::accepted());
}

#[test]
fn the_result_is_there_where_nothing_else_can_be_written() {
    let parent = tempfile::tempdir().unwrap();
    for others in
        [&["profile.toml"][..], &[PAGE], &["transcripts"], &[PAGE, "environment.json", "failures.jsonl"]]
    {
        let run = parent.path().join(others.join("-"));
        let mut directory = RunDir::create(Some(&run), false, "x", STARTED).unwrap();
        directory.keep(&fixtures::accepted()).unwrap();
        for name in others {
            if *name == "transcripts" {
                fs::write(run.join(name), "in the way").unwrap();
            } else {
                fs::create_dir_all(run.join(name).join("in-the-way")).unwrap();
            }
        }
        let error = store(&mut directory, &fixtures::accepted()).unwrap_err().to_string();
        assert!(error.contains(others[0]), "{error}");
        assert!(!RunDir::open(&run).unwrap().is_unfinished());
        assert!(!run.join("unfinished.json").exists());
    }
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
