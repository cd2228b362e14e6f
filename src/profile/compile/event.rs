//! `[[event]]` and `folder`: the commands that act on the listener, their times, and the folder in which they run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::event::{EventTime, PlannedEvent, ShellCommand};
use crate::load;
use crate::plan::Phase;
use crate::profile::document::{Document, keys};
use crate::profile::error::ProfileFault;
use crate::profile::nearest::choose;
use crate::profile::schema::Profile;
use crate::profile::schema::event::{Event, EventAt};
use crate::profile::units::Time;

/// Makes the folder of the commands absolute, if the profile has commands, so that a stored profile repeats its run
/// from any folder.
pub(super) fn anchor(document: &Document, profile: &mut Profile) {
    let between = profile.capacity.as_ref().is_some_and(|capacity| capacity.between_trials.is_some());
    if profile.folder.is_none() && profile.event().is_empty() && !between {
        return;
    }
    let whole = match &profile.folder {
        // A path is relative to the place where it is written.
        Some(folder) => {
            let place = document.place(&keys!["folder"]);
            let base = place.as_ref().and_then(|place| Path::new(&place.origin).parent());
            base.unwrap_or(Path::new("")).join(folder)
        }
        None => document.folder().to_owned(),
    };
    // The empty path means the current folder, and has no absolute form.
    let whole = if whole.as_os_str().is_empty() { PathBuf::from(".") } else { whole };
    let whole = std::path::absolute(&whole).unwrap_or(whole);
    profile.folder = Some(whole.display().to_string());
}

/// Returns a command of the profile.
pub(super) fn command(profile: &Profile, text: &str) -> ShellCommand {
    ShellCommand { text: text.to_owned(), folder: profile.folder.clone().unwrap_or_default().into() }
}

/// Compiles the `[[event]]` of this index.
pub(super) fn compile(
    document: &Document,
    profile: &Profile,
    phases: &[Phase],
    index: usize,
    written: &Event,
) -> Result<PlannedEvent, ProfileFault> {
    let at = |key: &'static str| keys!["event", index, key];
    let lacking =
        |message: &str, remedy: &str| Err(document.error_at(&keys!["event", index], message, remedy));
    let name = written.name.clone().unwrap_or_default();
    if profile.event().iter().take(index).any(|before| before.name.as_ref() == Some(&name)) {
        let message = format!("an event before this one is called `{name}` too");
        return Err(document.error_at(&at("name"), message, "give each event a name of its own"));
    }
    let Some(text) = &written.run else {
        return lacking("this event does nothing", "add `run = \"./crash.sh\"`");
    };
    let Some(when) = &written.at else {
        return lacking("this event has no time", "add `at = \"20s\"`");
    };
    let spans: Vec<(Duration, Duration)> = load::spans(phases.iter().map(|phase| &phase.load)).collect();
    let (time, end, what) = match when {
        EventAt::Run(Time(after)) => {
            let end = spans.last().map_or(Duration::MAX, |(_, end)| *end);
            (EventTime::Run(*after), (*after, end), "the load is over".to_owned())
        }
        EventAt::Phase(table) => {
            let names: Vec<&str> = phases.iter().map(|phase| phase.name.as_str()).collect();
            let Some(wanted) = &table.phase else {
                return Err(document.error_at(
                    &at("at"),
                    "this time is in no phase",
                    "add `phase = \"NAME\"`, or write a time from the start of the run such as \"20s\"",
                ));
            };
            let Some(phase) = names.iter().position(|name| name == wanted) else {
                return Err(document.error_at(
                    &keys!["event", index, "at", "phase"],
                    format!("no phase is called `{wanted}`"),
                    choose(wanted, &names, "the phases are"),
                ));
            };
            let Time(after) = table.after();
            let length = phases[phase].load.length.unwrap_or(Duration::MAX);
            let time = EventTime::Phase { index: phase, name: wanted.clone(), after };
            (time, (after, length), format!("phase `{wanted}` is over"))
        }
    };
    if end.0 >= end.1 {
        let message = format!("{what} after {}, before this event", Time(end.1));
        return Err(document.error_at(&at("at"), message, "write an earlier time, or make the load longer"));
    }
    let Time(timeout) = written.timeout();
    Ok(PlannedEvent { name, at: time, command: command(profile, text), timeout })
}
